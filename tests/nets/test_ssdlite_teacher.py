"""SSDLite as a teacher: that it says what its predictors say, of the classes that it knows."""

from dataclasses import replace

import pytest
import torch

from blitznet.core.anchors import feature_map_sizes
from blitznet.core.errors import ModelError
from blitznet.core.models import get_spec
from blitznet.nets.ssdlite_teacher import SSDLiteTeacher
from nets.test_lite import lite
from nets.test_pretrained_encoder import drawn
from nets.test_ssdlite_class_head import SPEC, begun, said


def test_says_what_the_predictors_say() -> None:
    finest = feature_map_sizes(SPEC.anchors, SPEC.size)[0]
    expected = said(begun(1.0), drawn())[finest[0] * finest[1] * 6 :]
    torch.testing.assert_close(SSDLiteTeacher(SPEC)(drawn())[0], expected)


def test_says_nothing_of_classes_it_does_not_know() -> None:
    teacher = SSDLiteTeacher(replace(SPEC, classes=("unicorn", "dog", "cat")))
    assert teacher.known.tolist() == [0, 2, 3]
    every = SSDLiteTeacher(SPEC)(drawn())
    torch.testing.assert_close(teacher(drawn())[..., 1:], every[..., [SPEC.classes.index("dog") + 1, 8]])


def test_never_learns() -> None:
    teacher = SSDLiteTeacher(lite())
    assert not any(p.requires_grad for p in teacher.parameters())
    assert not teacher.training
    assert not teacher(drawn().requires_grad_()).requires_grad


def test_has_nothing_to_teach() -> None:
    with pytest.raises(ModelError, match="knows none of the classes"):
        SSDLiteTeacher(replace(SPEC, classes=("unicorn",)))
    with pytest.raises(ModelError, match="light networks only"):
        SSDLiteTeacher(get_spec("blitznet300-s8"))

"""SSDLite as a teacher: the logits of its pretrained heads, for the classes that COCO has."""

from dataclasses import replace

import pytest
import torch

from blitznet.core.anchors import feature_map_sizes
from blitznet.core.errors import ModelError
from blitznet.core.models import get_spec
from blitznet.nets.blitznet import build
from blitznet.nets.heads import flatten_predictions
from blitznet.nets.pretrained_encoder import load_pretrained_encoder
from blitznet.nets.ssdlite_heads import load_ssdlite_heads
from blitznet.nets.ssdlite_teacher import SSDLiteTeacher
from support.small_networks import lite_spec
from support.ssdlite_original import synthetic_image

SPEC = lite_spec(ssd_head=True)


def test_logits_are_those_of_the_pretrained_head() -> None:
    net = build(SPEC).eval()
    load_pretrained_encoder(net)
    load_ssdlite_heads(net, SPEC)
    assert net.ssd_head is not None
    with torch.inference_mode():
        down = net.downscale(net.encoder(synthetic_image()))
        logits = flatten_predictions(net.ssd_head(down, net.upscale(down))[1], SPEC.num_channels)[0]
    height, width = feature_map_sizes(SPEC.anchors, SPEC.size)[0]
    torch.testing.assert_close(SSDLiteTeacher(SPEC)(synthetic_image())[0], logits[height * width * 6 :])


def test_classes_that_coco_lacks_have_no_logits() -> None:
    teacher = SSDLiteTeacher(replace(SPEC, classes=("unicorn", "dog", "cat")))
    assert teacher.known.tolist() == [0, 2, 3]
    all_classes = SSDLiteTeacher(SPEC)(synthetic_image())
    expected = all_classes[..., [SPEC.classes.index("dog") + 1, SPEC.classes.index("cat") + 1]]
    torch.testing.assert_close(teacher(synthetic_image())[..., 1:], expected)


def test_the_teacher_is_not_trained() -> None:
    teacher = SSDLiteTeacher(lite_spec())
    assert not any(p.requires_grad for p in teacher.parameters())
    assert not teacher.training
    assert not teacher(synthetic_image().requires_grad_()).requires_grad


def test_specs_without_a_class_or_map_of_ssdlite_are_rejected() -> None:
    with pytest.raises(ModelError, match="expected classes that COCO has, to distill SSDLite, got none"):
        SSDLiteTeacher(replace(SPEC, classes=("unicorn",)))
    with pytest.raises(ModelError, match="expected a light network to distill SSDLite, got blitznet"):
        SSDLiteTeacher(get_spec("blitznet300-s8"))

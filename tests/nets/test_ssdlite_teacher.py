"""SSDLite as a teacher: the logits of its pretrained heads, for the classes that COCO has, and their offsets."""

from dataclasses import replace

import pytest
import torch

from blitznet.core.anchors import feature_map_sizes
from blitznet.core.errors import ModelError
from blitznet.core.models import get_spec
from blitznet.nets.blitznet import build
from blitznet.nets.ssdlite_heads import init_from_ssdlite
from blitznet.nets.ssdlite_teacher import SSDLiteTeacher
from support.small_networks import fpn_spec, lite_spec
from support.ssdlite_original import synthetic_image

SPEC = fpn_spec()


@pytest.mark.parametrize("size", [(300, 300), (416, 416), (600, 520)])
def test_predictions_are_those_of_a_network_initialized_from_ssdlite(size: tuple[int, int]) -> None:
    net = build(SPEC).eval()
    init_from_ssdlite(net, SPEC)
    images = torch.rand(2, 3, *size) * 2 - 1
    with torch.inference_mode():
        outputs = net(images)
    height, width = feature_map_sizes(SPEC.anchors, size)[0]
    logits, offsets = SSDLiteTeacher(SPEC)(images)
    torch.testing.assert_close(logits, outputs.logits[:, height * width * 6 :], rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(offsets, outputs.offsets[:, height * width * 6 :], rtol=1e-5, atol=1e-4)
    assert offsets.abs().max() > 0.1


def test_a_student_of_the_older_family_has_the_same_teacher() -> None:
    older = fpn_spec(family="lite", ssd_head=True, segmentation_stride=4)
    torch.testing.assert_close(SSDLiteTeacher(older)(synthetic_image()), SSDLiteTeacher(SPEC)(synthetic_image()))


def test_classes_that_coco_lacks_have_no_logits() -> None:
    teacher = SSDLiteTeacher(replace(SPEC, classes=("unicorn", "dog", "cat")))
    assert teacher.known.tolist() == [0, 2, 3]
    all_classes, _ = SSDLiteTeacher(SPEC)(synthetic_image())
    expected = all_classes[..., [SPEC.classes.index("dog") + 1, SPEC.classes.index("cat") + 1]]
    torch.testing.assert_close(teacher(synthetic_image())[0][..., 1:], expected)


def test_the_teacher_is_not_trained() -> None:
    teacher = SSDLiteTeacher(SPEC)
    assert not any(p.requires_grad for p in teacher.parameters())
    assert not teacher.training
    assert not any(x.requires_grad for x in teacher(synthetic_image().requires_grad_()))


def test_specs_without_a_class_or_map_of_ssdlite_are_rejected() -> None:
    with pytest.raises(ModelError, match="expected classes that COCO has, to distill SSDLite, got none"):
        SSDLiteTeacher(replace(SPEC, classes=("unicorn",)))
    for spec in (get_spec("blitznet300-s8"), lite_spec()):
        with pytest.raises(ModelError, match=f"^{spec.name}: expected the encoder .* and SSDLite's anchors, .*, got '"):
            SSDLiteTeacher(spec)

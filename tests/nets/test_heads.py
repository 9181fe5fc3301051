import math

import pytest
import torch

from blitznet.core.spec import Resize
from blitznet.nets.heads import ConvDetectionHead, ConvSegmentationHead, flatten_predictions
from support.small_networks import num_parameters


def test_flatten_predictions_orders_by_row_column_anchor() -> None:
    height, width, anchors, values = 2, 3, 6, 4
    x = torch.arange(anchors * values * height * width).view(1, anchors * values, height, width)
    rows = flatten_predictions((x,), values)
    expected = [
        [int(x[0, anchor * values + value, i, j]) for value in range(values)]
        for i in range(height)
        for j in range(width)
        for anchor in range(anchors)
    ]
    assert rows.tolist() == [expected]


@pytest.mark.parametrize(("num_classes", "parameters"), [(21, 580_734), (81, 2_239_974)])
def test_detection_head_has_the_parameters_of_the_paper(num_classes: int, parameters: int) -> None:
    with torch.device("meta"):
        head = ConvDetectionHead((512,), anchors_per_cell=6, num_classes=num_classes)
    assert num_parameters(head.offsets) == 110_616
    assert num_parameters(head.logits) == parameters


@pytest.mark.parametrize(("num_classes", "parameters"), [(21, 72_597), (81, 280_017)])
def test_segmentation_head_has_the_parameters_of_the_paper(num_classes: int, parameters: int) -> None:
    with torch.device("meta"):
        head = ConvSegmentationHead((512,) * 6, channels_per_map=64, num_classes=num_classes, mode="bilinear")
    assert num_parameters(head.reduce) == 196_992
    assert num_parameters(head.classifier) == parameters


def test_flatten_predictions_starts_with_the_finest_map() -> None:
    head = ConvDetectionHead((4, 8), anchors_per_cell=2, num_classes=3)
    fine, coarse = torch.randn(2, 4, 3, 2), torch.randn(2, 8, 1, 1)
    offset_maps, logit_maps = head((fine, coarse))
    assert [x.shape[1:] for x in offset_maps] == [(8, 3, 2), (8, 1, 1)]
    offsets, logits = flatten_predictions(offset_maps, 4), flatten_predictions(logit_maps, 3)
    assert offsets.shape == (2, 14, 4)
    assert logits.shape == (2, 14, 3)
    torch.testing.assert_close(logits[:, 12:], head.logits[1](coarse).view(2, 2, 3))
    torch.testing.assert_close(offsets[0, 4], head.offsets[0](fine)[0, :4, 1, 0])


@pytest.mark.parametrize("mode", ["bilinear", "nearest", "legacy"])
def test_segmentation_logits_have_the_size_of_the_finest_map(mode: Resize) -> None:
    head = ConvSegmentationHead((4, 8), channels_per_map=5, num_classes=3, mode=mode)
    fine, coarse = torch.randn(1, 4, 5, 7), torch.randn(1, 8, 1, 1)
    _, logits = head((fine, coarse), ())
    upsampled = head.reduce[1](coarse).relu().expand(1, 5, 5, 7)
    expected = head.classifier(torch.cat([head.reduce[0](fine).relu(), upsampled], 1))
    torch.testing.assert_close(logits, expected)


def test_initialization_is_that_of_the_paper() -> None:
    torch.manual_seed(0)
    conv = ConvDetectionHead((512,), anchors_per_cell=6, num_classes=21).logits[0]
    assert isinstance(conv, torch.nn.Conv2d)
    assert conv.weight.std().item() == pytest.approx(0.00466, rel=0.02)
    assert conv.bias is not None
    assert not conv.bias.any()
    head = ConvSegmentationHead((8, 8), channels_per_map=64, num_classes=21, mode="bilinear")
    assert head.classifier.weight.abs().max().item() == pytest.approx(math.sqrt(6 / (9 * (128 + 21))), rel=0.01)

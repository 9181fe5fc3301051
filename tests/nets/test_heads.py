import math

import pytest
import torch

from blitznet.core.spec import Resize
from blitznet.nets.heads import ConvDetectionHead, ConvSegmentationHead, flatten_predictions
from support.small_networks import trained


def test_rows_are_row_column_anchor() -> None:
    height, width, anchors, values = 2, 3, 6, 4
    x = torch.arange(anchors * values * height * width).view(1, anchors * values, height, width)
    given = flatten_predictions((x,), values)
    expected = [
        [int(x[0, anchor * values + value, i, j]) for value in range(values)]
        for i in range(height)
        for j in range(width)
        for anchor in range(anchors)
    ]
    assert given.tolist() == [expected]


@pytest.mark.parametrize(("classes", "values"), [(21, 580_734), (81, 2_239_974)])
def test_detection_has_the_papers_size(classes: int, values: int) -> None:
    with torch.device("meta"):
        head = ConvDetectionHead((512,), per_cell=6, classes=classes)
    assert trained(head.offsets) == 110_616
    assert trained(head.logits) == values


@pytest.mark.parametrize(("classes", "values"), [(21, 72_597), (81, 280_017)])
def test_segmentation_has_the_papers_size(classes: int, values: int) -> None:
    with torch.device("meta"):
        head = ConvSegmentationHead((512,) * 6, width=64, classes=classes, how="bilinear")
    assert trained(head.reduce) == 196_992
    assert trained(head.classifier) == values


def test_maps_follow_each_other_finest_first() -> None:
    head = ConvDetectionHead((4, 8), per_cell=2, classes=3)
    fine, coarse = torch.randn(2, 4, 3, 2), torch.randn(2, 8, 1, 1)
    placed, said = head((fine, coarse))
    assert [x.shape[1:] for x in placed] == [(8, 3, 2), (8, 1, 1)]
    offsets, logits = flatten_predictions(placed, 4), flatten_predictions(said, 3)
    assert offsets.shape == (2, 14, 4)
    assert logits.shape == (2, 14, 3)
    torch.testing.assert_close(logits[:, 12:], head.logits[1](coarse).view(2, 2, 3))
    torch.testing.assert_close(offsets[0, 4], head.offsets[0](fine)[0, :4, 1, 0])


@pytest.mark.parametrize("how", ["bilinear", "nearest", "legacy"])
def test_class_map_has_the_finest_maps_size(how: Resize) -> None:
    head = ConvSegmentationHead((4, 8), width=5, classes=3, how=how)
    fine, coarse = torch.randn(1, 4, 5, 7), torch.randn(1, 8, 1, 1)
    _, given = head((fine, coarse), ())
    spread = head.reduce[1](coarse).relu().expand(1, 5, 5, 7)
    expected = head.classifier(torch.cat([head.reduce[0](fine).relu(), spread], 1))
    torch.testing.assert_close(given, expected)


def test_fresh_heads_are_the_papers() -> None:
    torch.manual_seed(0)
    conv = ConvDetectionHead((512,), per_cell=6, classes=21).logits[0]
    assert isinstance(conv, torch.nn.Conv2d)
    assert conv.weight.std().item() == pytest.approx(0.00466, rel=0.02)
    assert conv.bias is not None
    assert not conv.bias.any()
    joined = ConvSegmentationHead((8, 8), width=64, classes=21, how="bilinear").classifier
    assert joined.weight.abs().max().item() == pytest.approx(math.sqrt(6 / (9 * (128 + 21))), rel=0.01)

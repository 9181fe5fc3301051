"""Expected anchors were computed with the original implementation."""

import numpy as np
import pytest

from blitznet.core.anchors import feature_map_sizes, generate_anchors, scales, shapes
from blitznet.core.arrays import Floats
from blitznet.core.models import get_spec
from blitznet.core.spec import AnchorLayout

S8, S4, L8, L4 = "blitznet300-s8", "blitznet300-s4", "blitznet512-s8", "blitznet512-s4"
MIDDLE = (0.1, 0.27, 0.44, 0.61, 0.78, 0.95)


def anchors_of(name: str) -> Floats:
    spec = get_spec(name)
    return generate_anchors(spec.anchors, feature_map_sizes(spec.anchors, spec.size))


def loop_anchors(name: str) -> list[list[float]]:
    """Anchors from a plain loop, cx cy w h."""
    spec = get_spec(name)
    rows = []
    for (h, w), (small, large) in zip(feature_map_sizes(spec.anchors, spec.size), scales(spec.anchors), strict=True):
        for i in range(h):
            for j in range(w):
                center = [(j + 0.5) / w, (i + 0.5) / h]
                rows.append([*center, small, small])
                rows += [[*center, small * a**0.5, small / a**0.5] for a in (2, 1 / 2, 3, 1 / 3)]
                rows.append([*center, (small * large) ** 0.5, (small * large) ** 0.5])
    return rows


@pytest.mark.parametrize(
    ("name", "edges"),
    [
        (S8, (38, 19, 10, 5, 3, 1)),
        (S4, (75, 38, 19, 10, 5, 3, 1)),
        (L8, (64, 32, 16, 8, 4, 2, 1)),
        (L4, (128, 64, 32, 16, 8, 4, 2, 1)),
    ],
)
def test_feature_map_sizes(name: str, edges: tuple[int, ...]) -> None:
    spec = get_spec(name)
    assert feature_map_sizes(spec.anchors, spec.size) == tuple((edge, edge) for edge in edges)


def test_feature_map_sizes_of_a_rectangle_round_up() -> None:
    layout = get_spec(S8).anchors
    assert feature_map_sizes(layout, (200, 333)) == ((25, 42), (13, 21), (7, 11), (4, 6), (2, 3), (1, 1))


@pytest.mark.parametrize(
    ("name", "total", "width", "outside"),
    [
        (S8, 11_640, 1884.3956, 0.287715),
        (S4, 45_390, 3695.7816, 0.145561),
        (L8, 32_766, 2613.5013, 0.150186),
        (L4, 131_070, 7249.2986, 0.104715),
    ],
)
def test_generate_anchors_totals(name: str, total: int, width: float, outside: float) -> None:
    anchors = anchors_of(name).astype(np.float64)
    low, high = anchors[:, :2] - anchors[:, 2:] / 2, anchors[:, :2] + anchors[:, 2:] / 2
    assert len(anchors) == total
    assert anchors[:, 2:].sum(0) == pytest.approx([width, width], abs=2e-3)
    assert low.sum(0) == pytest.approx([total / 2 - width / 2] * 2, abs=2e-3)
    reaches = (low < -1e-7).any(1) | (high > 1 + 1e-7).any(1)
    assert reaches.mean() == pytest.approx(outside, abs=1e-6)


@pytest.mark.parametrize(
    ("index", "expected_xywh"),
    [
        (0, (-0.013333, -0.013333, 0.04, 0.04)),
        (1, (-0.021618, -0.007475, 0.056569, 0.028284)),
        (5, (-0.024956, -0.024956, 0.063246, 0.063246)),
        (45_252, (0.195, 0.195, 0.61, 0.61)),
        (-1, (-0.015752, -0.015752, 1.031504, 1.031504)),
    ],
)
def test_generate_anchors_single_anchors(index: int, expected_xywh: tuple[float, ...]) -> None:
    anchor = anchors_of(S4)[index].astype(np.float64)
    assert [*(anchor[:2] - anchor[2:] / 2), *anchor[2:]] == pytest.approx(expected_xywh, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "offsets"),
    [
        (S4, (0, 33750, 42414, 44580, 45180, 45330, 45384)),
        (L8, (0, 24576, 30720, 32256, 32640, 32736, 32760)),
    ],
)
def test_generate_anchors_first_anchor_of_each_map(name: str, offsets: tuple[int, ...]) -> None:
    spec, anchors = get_spec(name), anchors_of(name)
    first = anchors[list(offsets), :2]
    expected = [(0.5 / w, 0.5 / h) for h, w in feature_map_sizes(spec.anchors, spec.size)]
    np.testing.assert_allclose(first, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "smallest", "extra"),
    [
        (
            S8,
            (0.1, 0.2, 0.3875, 0.575, 0.7625, 0.95),
            (0.141421, 0.278388, 0.472030, 0.662146, 0.851102, 1.039531),
        ),
        (S4, (0.04, *MIDDLE), (0.063246, 0.164317, 0.344674, 0.518073, 0.689783, 0.860814, 1.031504)),
        (L8, (0.04, *MIDDLE), (0.063246, 0.164317, 0.344674, 0.518073, 0.689783, 0.860814, 1.031504)),
        (
            L4,
            (0.02, 0.08, 0.225, 0.37, 0.515, 0.66, 0.805, 0.95),
            (0.04, 0.134164, 0.288531, 0.436520, 0.583009, 0.728903, 0.874500, 1.019926),
        ),
    ],
)
def test_scales(name: str, smallest: tuple[float, ...], extra: tuple[float, ...]) -> None:
    layout = get_spec(name).anchors
    assert [low for low, _ in scales(layout)] == pytest.approx(smallest)
    assert [(low * high) ** 0.5 for low, high in scales(layout)] == pytest.approx(extra, abs=1e-6)
    assert shapes(layout)[:, 0, 0] == pytest.approx(smallest)
    assert shapes(layout)[:, -1, 1] == pytest.approx(extra, abs=1e-6)


@pytest.mark.parametrize("name", [S8, S4])
def test_generate_anchors_equals_a_loop(name: str) -> None:
    np.testing.assert_allclose(anchors_of(name), loop_anchors(name), atol=1e-6)


def test_generate_anchors_of_a_rectangle() -> None:
    layout = AnchorLayout(strides=(16, 32), min_scale=0.2, second_scale=0.4, max_scale=0.8)
    anchors = generate_anchors(layout, ((2, 3), (1, 2), (1, 1)))
    assert len(anchors) == (6 + 2 + 1) * layout.num_anchors_per_cell
    centers = anchors[:: layout.num_anchors_per_cell, :2]
    np.testing.assert_allclose(centers[:3], [(1 / 6, 0.25), (0.5, 0.25), (5 / 6, 0.25)], atol=1e-6)
    np.testing.assert_allclose(centers[3], (1 / 6, 0.75), atol=1e-6)


def test_generate_anchors_is_cached_and_read_only() -> None:
    anchors = anchors_of(S8)
    assert anchors_of(S8) is anchors
    with pytest.raises(ValueError, match="read-only"):
        anchors[0] = 0

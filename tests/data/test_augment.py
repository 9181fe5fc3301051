from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from blitznet.core.arrays import ClassMap, RGBArray
from blitznet.core.errors import DataError
from blitznet.core.image import ImageSource
from blitznet.core.sample import Sample
from blitznet.data.augment import BLITZNET, LIGHT, PLAIN, SSD, Policy, augment, draw_window
from blitznet.data.color_jitter import draw_steps
from blitznet.data.crop import Window
from blitznet.data.train_sample import TrainSample

SIZE, MAP = (120, 150), (30, 40)
HEIGHT, WIDTH = 96, 128
POLICIES = {"ssd": SSD, "blitznet": BLITZNET, "light": LIGHT, "plain": PLAIN}


@dataclass(frozen=True)
class Painted:
    """A class map in memory."""

    values: ClassMap

    def read(self) -> ClassMap:
        return self.values


def smooth_image() -> RGBArray:
    """Slopes in two directions, so that a warp can be told from another."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.stack([40 + x, 30 + y * 2, 200 - x // 2 - y // 2], -1).astype(np.uint8)


def make_sample(*, mask: bool = True, crowd: tuple[bool, ...] = (False, True)) -> Sample:
    boxes = np.array([[30, 20, 90, 70], [100, 10, 126, 60]], np.float32)[: len(crowd)]
    class_map = np.zeros((HEIGHT, WIDTH), np.uint8)
    class_map[20:70, 30:90] = 12
    class_map[10:60, 100:126] = 255
    return Sample(
        id="toy",
        image=ImageSource(smooth_image()),
        boxes=boxes,
        labels=np.array([11, 0])[: len(crowd)],
        difficult=np.array([True, False])[: len(crowd)],
        crowd=np.array(crowd, bool),
        annotated_box_classes=np.ones(20, bool),
        annotated_mask_classes=np.full(20, mask),
        mask=Painted(class_map) if mask else None,
    )


def run(sample: Sample, seed: int, policy: Policy) -> TrainSample:
    return augment(sample, np.random.default_rng(seed), policy, size=SIZE, map_size=MAP)


def same(a: TrainSample, b: TrainSample) -> bool:
    fields = ("image", "boxes", "labels", "crowd", "class_map", "box_classes", "mask_classes")
    return a.id == b.id and all(np.array_equal(getattr(a, name), getattr(b, name)) for name in fields)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(sorted(POLICIES)), st.integers(0, 10**6), st.booleans())
def test_what_every_example_is(name: str, seed: int, mask: bool) -> None:
    sample = make_sample(mask=mask)
    example = run(sample, seed, POLICIES[name])
    assert same(example, run(sample, seed, POLICIES[name]))
    assert example.image.shape == (*SIZE, 3)
    assert example.image.dtype == np.uint8
    assert example.image.flags.c_contiguous
    assert example.class_map.shape == MAP
    assert example.boxes.dtype == np.float32
    assert ((example.boxes >= 0) & (example.boxes <= 1)).all()
    assert (example.boxes[:, 2] - example.boxes[:, 0] >= 2 / SIZE[1]).all()
    assert (example.boxes[:, 3] - example.boxes[:, 1] >= 2 / SIZE[0]).all()
    assert set(zip(example.labels.tolist(), example.crowd.tolist(), strict=True)) <= {(11, False), (0, True)}
    assert set(np.unique(example.class_map)) <= ({0, 12, 255} if mask else {255})
    assert example.mask_classes is sample.annotated_mask_classes


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(["ssd", "blitznet", "light"]), st.integers(0, 10**6))
def test_a_painted_box_stays_its_masks_box(name: str, seed: int) -> None:
    """Through the whole way, within one cell of the class map."""
    example = run(make_sample(crowd=(False,)), seed, POLICIES[name])
    rows, columns = np.nonzero(example.class_map == 12)
    if len(example.boxes) == 0 or len(rows) == 0:
        return
    found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert found == pytest.approx(_cells(example), abs=1.001)


def _cells(example: TrainSample) -> list[float]:
    return [float(side) for side in example.boxes[0] * np.array([MAP[1], MAP[0], MAP[1], MAP[0]])]


def test_plain_is_resizing() -> None:
    example = run(make_sample(), 0, PLAIN)
    assert np.array_equal(example.image, ImageSource(smooth_image()).resize(SIZE))
    assert example.boxes[0] == pytest.approx([30 / 128, 20 / 96, 90 / 128, 70 / 96])
    assert example.labels.tolist() == [11, 0]
    assert example.crowd.tolist() == [False, True]


def test_flipped_twice_is_the_same_picture() -> None:
    plain, flipped = run(make_sample(), 0, PLAIN), run(make_sample(), 0, replace(PLAIN, flip=1.0))
    assert np.array_equal(flipped.image[:, ::-1], plain.image)
    assert np.array_equal(flipped.class_map[:, ::-1], plain.class_map)
    assert flipped.boxes[:, [2, 1, 0, 3]] == pytest.approx(np.abs([1, 0, 1, 0] - plain.boxes), abs=1e-6)


def slow_picture(window: Window, size: tuple[int, int], padding: tuple[int, int, int]) -> RGBArray:
    """Pad, crop, flip and resize one after another, each at four times the image's size."""
    fine = 4
    image = Pillow.fromarray(smooth_image()).resize((WIDTH * fine, HEIGHT * fine), Pillow.Resampling.BICUBIC)
    left, top, right, bottom = (round(v * fine) for v in (window.x1, window.y1, window.x2, window.y2))
    canvas = Pillow.new("RGB", (right - left, bottom - top), padding)
    canvas.paste(image, (-left, -top))
    if window.flipped:
        canvas = canvas.transpose(Pillow.Transpose.FLIP_LEFT_RIGHT)
    return np.array(canvas.resize((size[1], size[0]), Pillow.Resampling.BOX))


@pytest.mark.parametrize("name", ["ssd", "blitznet", "light"])
@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_one_warp_equals_four_steps(name: str, seed: int) -> None:
    policy = replace(POLICIES[name], colour="none", zoom_out=seed % 2, padding=(90, 80, 70))
    sample = make_sample()
    window = draw_window((HEIGHT, WIDTH), sample.boxes[:1], np.random.default_rng(seed), policy)
    slow = slow_picture(window, SIZE, policy.padding).astype(int)
    difference = np.abs(run(sample, seed, policy).image - slow)
    assert np.median(difference) <= 2
    assert (difference.max(-1) > 12).mean() < 0.04  # the image's rim, which the slow way blends


def test_around_the_image_are_padding_and_background() -> None:
    policy = Policy(zoom_out=1.0, min_zoom=3.0, max_zoom=3.0, padding=(1, 2, 3))
    example = run(make_sample(), 5, policy)
    around = (example.image == (1, 2, 3)).all(-1)
    assert around.mean() == pytest.approx(8 / 9, abs=0.03)
    rows, columns = np.nonzero(~around)
    assert (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1) == len(rows)
    assert (example.class_map == 0).mean() > 0.85


def test_nothing_of_the_image_may_be_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blitznet.data.augment.draw_window", lambda *_: Window(-90, -90, -10, -10))
    example = run(make_sample(), 0, replace(SSD, padding=(9, 8, 7)))
    assert (example.image == (9, 8, 7)).all()
    assert not example.class_map.any()
    assert len(example.boxes) == 0


def test_colour_changes_the_image_but_not_its_padding() -> None:
    policy = Policy(colour="blitznet", zoom_out=1.0, min_zoom=3.0, max_zoom=3.0, padding=(1, 2, 3))
    example, plain = run(make_sample(), 7, policy), run(make_sample(), 7, replace(policy, colour="none"))
    around = (plain.image == (1, 2, 3)).all(-1)
    assert (example.image[around] == (1, 2, 3)).all()
    assert (example.image[~around] != plain.image[~around]).mean() > 0.5
    assert draw_steps("blitznet", np.random.default_rng(7))


def test_crowds_do_not_lead_the_crop() -> None:
    """A sample of nothing but a crowd is cropped like an empty one."""
    crowd, empty = make_sample(crowd=(True,)), make_sample(crowd=())
    for seed in range(10):
        policy = replace(SSD, colour="none")
        assert np.array_equal(run(crowd, seed, policy).image, run(empty, seed, policy).image)


def test_a_mask_of_another_size_is_refused() -> None:
    sample = replace(make_sample(), mask=Painted(np.zeros((10, 20), np.uint8)))
    with pytest.raises(DataError, match="toy: the mask is 20x10 pixels, the image 128x96; make them the same size"):
        run(sample, 0, PLAIN)


@pytest.mark.parametrize(("name", "share"), [("ssd", 0.5), ("blitznet", 0.5), ("light", 0.3)])
def test_how_often_a_policy_zooms_out_and_flips(name: str, share: float) -> None:
    policy = replace(POLICIES[name], crop="none")
    drawn = [
        draw_window((HEIGHT, WIDTH), np.zeros((0, 4), np.float32), np.random.default_rng(seed), policy)
        for seed in range(600)
    ]
    zoomed = [window for window in drawn if window.width > WIDTH + 1e-6]
    assert len(zoomed) / 600 == pytest.approx(share, abs=0.06)
    assert max(window.width for window in zoomed) == pytest.approx(policy.max_zoom * WIDTH, rel=0.03)
    assert min(window.width for window in zoomed) >= policy.min_zoom * WIDTH - 1e-6
    assert np.mean([window.flipped for window in drawn]) == pytest.approx(0.5, abs=0.06)

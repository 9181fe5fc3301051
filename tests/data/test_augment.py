from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from blitznet.core.arrays import RGBArray
from blitznet.core.errors import DataError
from blitznet.core.image import ImageSource
from blitznet.core.sample import Sample
from blitznet.data.augment import PLAIN, POLICIES, SSD, Policy, PolicyName, augment, draw_window
from blitznet.data.color_jitter import draw_color_steps
from blitznet.data.crop import CropWindow
from blitznet.data.train_sample import TrainSample
from support import synthetic_data

SIZE, MAP = (120, 150), (30, 40)
HEIGHT, WIDTH = 96, 128
RANDOM_POLICIES: tuple[PolicyName, ...] = ("ssd", "blitznet", "light", "strong", "lsj")


def smooth_image() -> RGBArray:
    """Gradients in two directions, which differ under any two transforms."""
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
        mask=synthetic_data.ArrayMask(class_map) if mask else None,
    )


def run_policy(sample: Sample, seed: int, policy: Policy) -> TrainSample:
    return augment(sample, np.random.default_rng(seed), policy, size=SIZE, map_size=MAP)


def equal(a: TrainSample, b: TrainSample) -> bool:
    fields = ("image", "boxes", "labels", "crowd", "class_map", "annotated_box_classes", "annotated_mask_classes")
    return a.id == b.id and all(np.array_equal(getattr(a, name), getattr(b, name)) for name in fields)


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(sorted(POLICIES)), st.integers(0, 10**6), st.booleans())
def test_training_samples_are_valid_and_deterministic(name: PolicyName, seed: int, mask: bool) -> None:
    sample = make_sample(mask=mask)
    train_sample = run_policy(sample, seed, POLICIES[name])
    assert equal(train_sample, run_policy(sample, seed, POLICIES[name]))
    assert train_sample.image.shape == (*SIZE, 3)
    assert train_sample.image.dtype == np.uint8
    assert train_sample.image.flags.c_contiguous
    assert train_sample.class_map.shape == MAP
    assert train_sample.boxes.dtype == np.float32
    assert ((train_sample.boxes >= 0) & (train_sample.boxes <= 1)).all()
    assert (train_sample.boxes[:, 2] - train_sample.boxes[:, 0] >= 2 / SIZE[1]).all()
    assert (train_sample.boxes[:, 3] - train_sample.boxes[:, 1] >= 2 / SIZE[0]).all()
    assert set(zip(train_sample.labels.tolist(), train_sample.crowd.tolist(), strict=True)) <= {(11, False), (0, True)}
    assert set(np.unique(train_sample.class_map)) <= ({0, 12, 255} if mask else {255})
    assert train_sample.annotated_mask_classes is sample.annotated_mask_classes


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(RANDOM_POLICIES), st.integers(0, 10**6))
def test_class_map_and_box_stay_aligned(name: PolicyName, seed: int) -> None:
    """Within one cell of the class map."""
    train_sample = run_policy(make_sample(crowd=(False,)), seed, POLICIES[name])
    rows, columns = np.nonzero(train_sample.class_map == 12)
    if len(train_sample.boxes) == 0 or len(rows) == 0:
        return
    extent = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert extent == pytest.approx(_cells(train_sample), abs=1.001)


def _cells(train_sample: TrainSample) -> list[float]:
    return [float(coordinate) for coordinate in train_sample.boxes[0] * np.array([MAP[1], MAP[0], MAP[1], MAP[0]])]


def test_plain_only_resizes() -> None:
    train_sample = run_policy(make_sample(), 0, PLAIN)
    assert np.array_equal(train_sample.image, ImageSource(smooth_image()).resize(SIZE))
    assert train_sample.boxes[0] == pytest.approx([30 / 128, 20 / 96, 90 / 128, 70 / 96])
    assert train_sample.labels.tolist() == [11, 0]
    assert train_sample.crowd.tolist() == [False, True]


def test_flip_mirrors_image_boxes_and_class_map() -> None:
    plain, flipped = run_policy(make_sample(), 0, PLAIN), run_policy(make_sample(), 0, replace(PLAIN, flip=1.0))
    assert np.array_equal(flipped.image[:, ::-1], plain.image)
    assert np.array_equal(flipped.class_map[:, ::-1], plain.class_map)
    assert flipped.boxes[:, [2, 1, 0, 3]] == pytest.approx(np.abs([1, 0, 1, 0] - plain.boxes), abs=1e-6)


def warp_stepwise(window: CropWindow, size: tuple[int, int], fill: tuple[int, int, int]) -> RGBArray:
    """Pad, crop, flip and resize one after another, at four times the image size."""
    scale = 4
    image = Image.fromarray(smooth_image()).resize((WIDTH * scale, HEIGHT * scale), Image.Resampling.BICUBIC)
    left, top, right, bottom = (round(v * scale) for v in (window.x1, window.y1, window.x2, window.y2))
    canvas = Image.new("RGB", (right - left, bottom - top), fill)
    canvas.paste(image, (-left, -top))
    if window.flipped:
        canvas = canvas.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.array(canvas.resize((size[1], size[0]), Image.Resampling.BOX))


@pytest.mark.parametrize("name", RANDOM_POLICIES)
@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_one_warp_equals_four_steps(name: PolicyName, seed: int) -> None:
    policy = replace(POLICIES[name], color="none", zoom_out=seed % 2, fill=(90, 80, 70))
    sample = make_sample()
    window = draw_window((HEIGHT, WIDTH), sample.boxes[:1], np.random.default_rng(seed), policy)
    stepwise = warp_stepwise(window, SIZE, policy.fill).astype(int)
    difference = np.abs(run_policy(sample, seed, policy).image - stepwise)
    assert np.median(difference) <= 2
    assert (difference.max(-1) > 12).mean() < 0.04  # the rim of the image, which the stepwise version blends


def test_zoom_out_adds_fill_and_background() -> None:
    policy = Policy(zoom_out=1.0, min_zoom=3.0, max_zoom=3.0, fill=(1, 2, 3))
    train_sample = run_policy(make_sample(), 5, policy)
    is_fill = (train_sample.image == (1, 2, 3)).all(-1)
    assert is_fill.mean() == pytest.approx(8 / 9, abs=0.03)
    rows, columns = np.nonzero(~is_fill)
    assert (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1) == len(rows)
    assert (train_sample.class_map == 0).mean() > 0.85


def test_windows_outside_the_image_are_all_fill(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blitznet.data.augment.draw_window", lambda *_: CropWindow(-90, -90, -10, -10))
    train_sample = run_policy(make_sample(), 0, replace(SSD, fill=(9, 8, 7)))
    assert (train_sample.image == (9, 8, 7)).all()
    assert not train_sample.class_map.any()
    assert len(train_sample.boxes) == 0


def test_color_jitter_changes_the_image_but_not_the_fill() -> None:
    policy = Policy(color="blitznet", zoom_out=1.0, min_zoom=3.0, max_zoom=3.0, fill=(1, 2, 3))
    train_sample, plain = (
        run_policy(make_sample(), 7, policy),
        run_policy(make_sample(), 7, replace(policy, color="none")),
    )
    is_fill = (plain.image == (1, 2, 3)).all(-1)
    assert (train_sample.image[is_fill] == (1, 2, 3)).all()
    assert (train_sample.image[~is_fill] != plain.image[~is_fill]).mean() > 0.5
    assert draw_color_steps("blitznet", np.random.default_rng(7))


def test_crowds_do_not_influence_the_crop() -> None:
    """A sample with only a crowd is cropped as an empty one."""
    crowd, empty = make_sample(crowd=(True,)), make_sample(crowd=())
    for seed in range(10):
        policy = replace(SSD, color="none")
        assert np.array_equal(run_policy(crowd, seed, policy).image, run_policy(empty, seed, policy).image)


def test_masks_of_another_size_are_refused() -> None:
    sample = replace(make_sample(), mask=synthetic_data.ArrayMask(np.zeros((10, 20), np.uint8)))
    with pytest.raises(DataError, match="toy: expected a mask of the image's 128x96 pixels, got 20x10; make them"):
        run_policy(sample, 0, PLAIN)


@pytest.mark.parametrize(("name", "probability"), [("ssd", 0.5), ("blitznet", 0.5), ("light", 0.3), ("strong", 0.4)])
def test_policies_zoom_out_and_flip_with_their_probabilities(name: PolicyName, probability: float) -> None:
    policy = replace(POLICIES[name], crop="none")
    windows = [
        draw_window((HEIGHT, WIDTH), np.zeros((0, 4), np.float32), np.random.default_rng(seed), policy)
        for seed in range(600)
    ]
    zoomed = [window for window in windows if window.width > WIDTH + 1e-6]
    assert len(zoomed) / 600 == pytest.approx(probability, abs=0.06)
    assert max(window.width for window in zoomed) == pytest.approx(policy.max_zoom * WIDTH, rel=0.03)
    assert min(window.width for window in zoomed) >= policy.min_zoom * WIDTH - 1e-6
    assert np.mean([window.flipped for window in windows]) == pytest.approx(0.5, abs=0.06)


def test_only_the_published_policy_has_the_published_range_of_hues() -> None:
    colors = {name: policy.color for name, policy in POLICIES.items()}
    own = dict.fromkeys(("light", "strong", "lsj"), "torchvision")
    assert colors == {"ssd": "ssd", "blitznet": "blitznet", "plain": "none", **own}

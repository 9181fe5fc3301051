import colorsys
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from blitznet.core.arrays import RGBArray
from blitznet.data.color_jitter import ColorKind, ColorRule, ColorStep, apply_color_steps, draw_color_steps


def jitter(image: RGBArray, steps: tuple[ColorStep, ...]) -> RGBArray:
    return np.array(apply_color_steps(Image.fromarray(image), steps))


def noise(low: int = 0, high: int = 256) -> RGBArray:
    return np.random.default_rng(0).integers(low, high, (40, 50, 3), np.uint8)


def hsv(image: RGBArray) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    flat = image.reshape(-1, 3) / 255
    return np.array([colorsys.rgb_to_hsv(*pixel) for pixel in flat])


def test_no_steps_change_no_pixels() -> None:
    image = noise()
    np.testing.assert_array_equal(jitter(image, ()), image)
    assert draw_color_steps("none", np.random.default_rng(0)) == ()


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (ColorStep("brightness", 20.0), [[120, 70, 20], [255, 255, 40]]),
        (ColorStep("brightness", -30.0), [[70, 20, 0], [225, 210, 0]]),
        (ColorStep("gain", 0.5), [[50, 25, 0], [128, 120, 10]]),
        (ColorStep("gain", 1.5), [[150, 75, 0], [255, 255, 30]]),
        (ColorStep("contrast", 0.5), [[139, 98, 5], [216, 193, 15]]),  # around the mean 177.5, 145, 10
        (ColorStep("saturation", 0.5), [[100, 75, 50], [255, 248, 138]]),
        (ColorStep("saturation", 0.0), [[100, 100, 100], [255, 255, 255]]),
        (ColorStep("hue", 1 / 3), [[0, 100, 50], [20, 255, 240]]),  # red to green
    ],
)
def test_single_steps_computed_by_hand(step: ColorStep, expected: list[list[int]]) -> None:
    image = np.array([[[100, 50, 0], [255, 240, 20]]], np.uint8).repeat(5, 0).repeat(5, 1)
    actual = jitter(image, (step,))[0, ::5]
    assert np.abs(actual.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.2, 1.5])
def test_saturation_matches_hsv(factor: float) -> None:
    image = noise(140, 256)  # saturation below 0.45: never clipped
    actual, before = hsv(jitter(image, (ColorStep("saturation", factor),))), hsv(image)
    assert np.abs(actual[:, 1] - before[:, 1] * factor).max() < 0.02
    assert np.abs(actual[:, 2] - before[:, 2]).max() < 0.01
    vivid = before[:, 1] > 0.2
    assert np.abs((actual[:, 0] - before[:, 0] + 0.5) % 1 - 0.5)[vivid].max() < 0.03


@pytest.mark.parametrize("rotation", [-0.07, -0.05, 0.05, 0.07])
def test_hue_rotates_as_in_hsv(rotation: float) -> None:
    image = noise(60, 200)
    actual, before = hsv(jitter(image, (ColorStep("hue", rotation),))), hsv(image)
    vivid = (before[:, 1] > 0.25) & (before[:, 2] > 0.3)
    rotated = (actual[:, 0] - before[:, 0] + 0.5) % 1 - 0.5
    assert rotated[vivid].mean() == pytest.approx(rotation, abs=0.005)
    assert np.abs(rotated[vivid] - rotation).max() < 0.03


def test_gray_has_no_hue() -> None:
    gray = np.full((4, 4, 3), 90, np.uint8)
    assert np.abs(jitter(gray, (ColorStep("hue", 0.07),)).astype(int) - 90).max() <= 1


def jitter_stepwise(image: RGBArray, steps: tuple[ColorStep, ...]) -> RGBArray:
    """Each step on its own in floats, clipped once."""
    rgb = image / 255
    for step in steps:
        if step.kind == "brightness":
            rgb = rgb + step.amount / 255
        elif step.kind == "contrast":
            mean = rgb.mean((0, 1))
            rgb = (rgb - mean) * step.amount + mean
        elif step.kind == "gain":
            rgb = rgb * step.amount
        elif step.kind == "saturation":
            value = rgb.max(-1, keepdims=True)
            rgb = value - (value - rgb) * step.amount
    return np.asarray((rgb * 255).clip(0, 255).round(), np.uint8)


@pytest.mark.parametrize(
    "kinds",
    [
        ("brightness", "contrast", "saturation"),
        ("saturation", "gain", "brightness"),
        ("contrast", "brightness", "gain"),
        ("gain", "saturation", "contrast"),
    ],
)
def test_composed_steps_equal_single_steps(kinds: tuple[ColorKind, ...]) -> None:
    image = noise(90, 160)
    amounts = {"brightness": 12.0, "contrast": 1.2, "gain": 0.9, "saturation": 0.8}
    steps = tuple(ColorStep(kind, amounts[kind]) for kind in kinds)
    flat = np.kron(image[:8, :10], np.ones((5, 5, 1), np.uint8))  # a mean that subsampling estimates exactly
    assert np.abs(jitter(flat, steps).astype(int) - jitter_stepwise(flat, steps)).max() <= 3


def test_ssd_applies_each_step_with_probability_half() -> None:
    drawn = [draw_color_steps("ssd", np.random.default_rng(seed)) for seed in range(1000)]
    counts = Counter(step.kind for steps in drawn for step in steps)
    assert set(counts) == {"brightness", "gain", "saturation", "hue"}
    assert all(count == pytest.approx(500, abs=70) for count in counts.values())
    gain_first = [steps for steps in drawn if len(steps) == 4 and steps[1].kind == "gain"]
    gain_last = [steps for steps in drawn if len(steps) == 4 and steps[3].kind == "gain"]
    assert len(gain_first) == pytest.approx(len(gain_last), abs=25)


def test_blitznet_applies_all_steps_in_one_of_four_orders() -> None:
    drawn = [draw_color_steps("blitznet", np.random.default_rng(seed)) for seed in range(200)]
    orders = Counter("".join(step.kind[0].upper() for step in steps) for steps in drawn)
    assert set(orders) == {"BSHC", "SBCH", "CHBS", "HSCB"}
    assert min(orders.values()) > 25


@pytest.mark.parametrize(
    ("rule", "ranges"),
    [
        ("ssd", {"brightness": (-32, 32), "gain": (0.5, 1.5), "saturation": (0.5, 1.5), "hue": (-0.1, 0.1)}),
        ("torchvision", {"brightness": (-32, 32), "gain": (0.5, 1.5), "saturation": (0.5, 1.5), "hue": (-0.05, 0.05)}),
        (
            "blitznet",
            {"brightness": (-31.875, 31.875), "contrast": (0.5, 1.5), "saturation": (0.5, 1.5), "hue": (-0.07, 0.07)},
        ),
    ],
)
def test_amounts_cover_their_ranges(rule: ColorRule, ranges: dict[str, tuple[float, float]]) -> None:
    drawn = [step for seed in range(500) for step in draw_color_steps(rule, np.random.default_rng(seed))]
    for kind, (low, high) in ranges.items():
        amounts = [step.amount for step in drawn if step.kind == kind]
        assert low <= min(amounts) < low + 0.03 * (high - low)
        assert high - 0.03 * (high - low) < max(amounts) <= high

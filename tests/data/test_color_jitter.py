import colorsys
from collections import Counter

import numpy as np
import pytest
from PIL import Image as Pillow

from blitznet.core.arrays import RGBArray
from blitznet.data import color_jitter as colour
from blitznet.data.color_jitter import Kind, Step, draw_steps


def paint(image: RGBArray, steps: tuple[Step, ...]) -> RGBArray:
    return np.array(colour.apply_steps(Pillow.fromarray(image), steps))


def noise(low: int = 0, high: int = 256) -> RGBArray:
    return np.random.default_rng(0).integers(low, high, (40, 50, 3), np.uint8)


def hsv(image: RGBArray) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    flat = image.reshape(-1, 3) / 255
    return np.array([colorsys.rgb_to_hsv(*pixel) for pixel in flat])


def test_nothing_to_do_gives_the_same_pixels() -> None:
    image = noise()
    np.testing.assert_array_equal(paint(image, ()), image)
    assert draw_steps("none", np.random.default_rng(0)) == ()


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (Step("brightness", 20.0), [[120, 70, 20], [255, 255, 40]]),
        (Step("brightness", -30.0), [[70, 20, 0], [225, 210, 0]]),
        (Step("gain", 0.5), [[50, 25, 0], [128, 120, 10]]),
        (Step("gain", 1.5), [[150, 75, 0], [255, 255, 30]]),
        (Step("contrast", 0.5), [[139, 98, 5], [216, 193, 15]]),  # around the mean 177.5, 145, 10
        (Step("saturation", 0.5), [[100, 75, 50], [255, 248, 138]]),
        (Step("saturation", 0.0), [[100, 100, 100], [255, 255, 255]]),
        (Step("hue", 1 / 3), [[0, 100, 50], [20, 255, 240]]),  # red becomes green
    ],
)
def test_one_step_worked_by_hand(step: Step, expected: list[list[int]]) -> None:
    image = np.array([[[100, 50, 0], [255, 240, 20]]], np.uint8).repeat(5, 0).repeat(5, 1)
    actual = paint(image, (step,))[0, ::5]
    assert np.abs(actual.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.2, 1.5])
def test_saturation_is_that_of_hsv(factor: float) -> None:
    image = noise(140, 256)  # saturation under .45: never cut
    actual, before = hsv(paint(image, (Step("saturation", factor),))), hsv(image)
    assert np.abs(actual[:, 1] - before[:, 1] * factor).max() < 0.02
    assert np.abs(actual[:, 2] - before[:, 2]).max() < 0.01
    vivid = before[:, 1] > 0.2
    assert np.abs((actual[:, 0] - before[:, 0] + 0.5) % 1 - 0.5)[vivid].max() < 0.03


@pytest.mark.parametrize("turn", [-0.07, -0.05, 0.05, 0.07])
def test_hue_turns_by_about_as_much(turn: float) -> None:
    image = noise(60, 200)
    actual, before = hsv(paint(image, (Step("hue", turn),))), hsv(image)
    vivid = (before[:, 1] > 0.25) & (before[:, 2] > 0.3)
    turned = (actual[:, 0] - before[:, 0] + 0.5) % 1 - 0.5
    assert turned[vivid].mean() == pytest.approx(turn, abs=0.005)
    assert np.abs(turned[vivid] - turn).max() < 0.03


def test_grey_has_no_hue() -> None:
    grey = np.full((4, 4, 3), 90, np.uint8)
    assert np.abs(paint(grey, (Step("hue", 0.07),)).astype(int) - 90).max() <= 1


def slowly(image: RGBArray, steps: tuple[Step, ...]) -> RGBArray:
    """Step by step in floats, clipped once."""
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
def test_joined_steps_equal_single_ones(kinds: tuple[Kind, ...]) -> None:
    image = noise(90, 160)
    amounts = {"brightness": 12.0, "contrast": 1.2, "gain": 0.9, "saturation": 0.8}
    steps = tuple(Step(kind, amounts[kind]) for kind in kinds)
    flat = np.kron(image[:8, :10], np.ones((5, 5, 1), np.uint8))  # a mean that sparse reading finds exactly
    assert np.abs(paint(flat, steps).astype(int) - slowly(flat, steps)).max() <= 3


def test_ssd_takes_each_step_in_half_of_the_images() -> None:
    drawn = [draw_steps("ssd", np.random.default_rng(seed)) for seed in range(1000)]
    counts = Counter(step.kind for steps in drawn for step in steps)
    assert set(counts) == {"brightness", "gain", "saturation", "hue"}
    assert all(count == pytest.approx(500, abs=70) for count in counts.values())
    early = [steps for steps in drawn if len(steps) == 4 and steps[1].kind == "gain"]
    late = [steps for steps in drawn if len(steps) == 4 and steps[3].kind == "gain"]
    assert len(early) == pytest.approx(len(late), abs=25)


def test_release_takes_all_steps_in_one_of_four_orders() -> None:
    drawn = [draw_steps("blitznet", np.random.default_rng(seed)) for seed in range(200)]
    orders = Counter("".join(step.kind[0].upper() for step in steps) for steps in drawn)
    assert set(orders) == {"BSHC", "SBCH", "CHBS", "HSCB"}
    assert min(orders.values()) > 25


@pytest.mark.parametrize(
    ("rule", "ranges"),
    [
        ("ssd", {"brightness": (-32, 32), "gain": (0.5, 1.5), "saturation": (0.5, 1.5), "hue": (-0.05, 0.05)}),
        (
            "blitznet",
            {"brightness": (-31.875, 31.875), "contrast": (0.5, 1.5), "saturation": (0.5, 1.5), "hue": (-0.07, 0.07)},
        ),
    ],
)
def test_amounts_fill_their_ranges(rule: str, ranges: dict[str, tuple[float, float]]) -> None:
    assert rule in ("ssd", "blitznet")
    drawn = [
        s
        for seed in range(500)
        for s in draw_steps("ssd" if rule == "ssd" else "blitznet", np.random.default_rng(seed))
    ]
    for kind, (low, high) in ranges.items():
        amounts = [step.amount for step in drawn if step.kind == kind]
        assert low <= min(amounts) < low + 0.03 * (high - low)
        assert high - 0.03 * (high - low) < max(amounts) <= high

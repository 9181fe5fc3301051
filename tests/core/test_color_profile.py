"""ICC profiles of images."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from blitznet.core.color_profile import convert_to_srgb
from blitznet.core.image import ImageSource
from support.color_profiles import ADOBE_GAMMA, ADOBE_RGB, SRGB, gray_profile, rgb_profile

COLORS = np.random.default_rng(0).integers(40, 200, (1, 500, 3)).astype(np.uint8)


def encode(light: NDArray[np.float64]) -> NDArray[np.float64]:
    """Linear light 0..1 as sRGB values 0..255."""
    light = np.clip(light, 0, 1)
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def from_adobe(values: NDArray[Any]) -> NDArray[np.float64]:
    """Adobe RGB values as sRGB, by the matrices of both."""
    light = (values / 255) ** ADOBE_GAMMA @ np.asarray(ADOBE_RGB) @ np.linalg.inv(np.asarray(SRGB))
    return encode(light)


def stored(image: Image.Image, image_format: str, profile: bytes, **options: object) -> bytes:
    file = BytesIO()
    image.save(file, image_format, icc_profile=profile, **options)
    return file.getvalue()


@pytest.mark.parametrize("image_format", ["PNG", "TIFF", "WEBP"])
def test_colors_are_those_of_the_profile(image_format: str) -> None:
    options = {"lossless": True} if image_format == "WEBP" else {}
    content = stored(Image.fromarray(COLORS), image_format, rgb_profile(), **options)
    np.testing.assert_allclose(ImageSource(content).read(), from_adobe(COLORS), atol=2.5)
    np.testing.assert_array_equal(ImageSource(Image.open(BytesIO(content))).read(), ImageSource(content).read())


def test_a_reduced_jpeg_has_the_colors_of_the_profile() -> None:
    image = Image.new("RGB", (1600, 800), (120, 200, 90))
    small = ImageSource(stored(image, "JPEG", rgb_profile(), quality=95)).resize((100, 200))
    np.testing.assert_allclose(small, np.broadcast_to(from_adobe(np.array([[[120, 200, 90]]])), small.shape), atol=4)


def test_gray_images_have_the_brightness_of_the_profile() -> None:
    gray = np.arange(256, dtype=np.uint8)[None]
    result = ImageSource(stored(Image.fromarray(gray), "PNG", gray_profile(1.8))).read()
    expected = encode((gray[..., None] / 255.0) ** 1.8).repeat(3, -1)
    np.testing.assert_allclose(result[:, 30:], expected[:, 30:], atol=3)


def test_transparent_and_palette_images_are_converted() -> None:
    rgba = Image.fromarray(np.dstack([COLORS, np.full(COLORS.shape[:2], 255, np.uint8)]))
    np.testing.assert_allclose(ImageSource(stored(rgba, "PNG", rgb_profile())).read(), from_adobe(COLORS), atol=2.5)
    palette = Image.fromarray(COLORS[:, :50]).quantize(50)
    expected = from_adobe(np.asarray(palette.convert("RGB")))
    np.testing.assert_allclose(ImageSource(stored(palette, "PNG", rgb_profile())).read(), expected, atol=2.5)


def test_a_transparent_color_stays_transparent() -> None:
    image = Image.fromarray(np.array([[[10, 20, 30], [120, 130, 140]]], np.uint8))
    content = stored(image, "PNG", rgb_profile(), transparency=(10, 20, 30))
    assert ImageSource(content).read()[0, 0].tolist() == [255, 255, 255]


def srgb() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize(
    ("profile", "mode"),
    [
        (srgb(), "RGB"),
        (rgb_profile()[:200], "RGB"),
        (b"\0" * 300, "RGB"),
        (rgb_profile(), "L"),
        (gray_profile(1.8), "RGB"),
        (rgb_profile() + bytes(5 << 20), "RGB"),
    ],
    ids=["sRGB", "truncated", "zeros", "RGB for gray", "gray for RGB", "too large"],
)
def test_an_image_with_another_profile_stays(profile: bytes, mode: str) -> None:
    image = Image.fromarray(COLORS).convert(mode)
    image.info["icc_profile"] = profile
    assert convert_to_srgb(image) is image


def test_an_image_without_a_profile_stays(tmp_path: Path) -> None:
    Image.fromarray(COLORS).save(tmp_path / "x.png")
    np.testing.assert_array_equal(ImageSource(tmp_path / "x.png").read(), COLORS)


def test_a_profile_of_screens_is_ignored_for_printers() -> None:
    cmyk = Image.fromarray(COLORS).convert("CMYK")
    cmyk.info["icc_profile"] = rgb_profile()
    assert convert_to_srgb(cmyk) is cmyk

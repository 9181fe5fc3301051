"""Every image file decodes to upright 8-bit RGB, or raises a DataError of one line."""

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from blitznet.core.arrays import RGBArray
from blitznet.core.errors import BlitzNetError, DataError
from blitznet.core.image import FORMATS, ImageSource

RED, GREEN, BLUE, WHITE = (220, 30, 30), (30, 200, 40), (40, 50, 210), (250, 250, 250)
TRANSPOSED = (5, 6, 7, 8)
# transpositions that a camera applies to an upright image before it stores orientation n
STORE: dict[int, list[Image.Transpose]] = {
    1: [],
    2: [Image.Transpose.FLIP_LEFT_RIGHT],
    3: [Image.Transpose.ROTATE_180],
    4: [Image.Transpose.FLIP_TOP_BOTTOM],
    5: [Image.Transpose.TRANSPOSE],
    6: [Image.Transpose.ROTATE_90],
    7: [Image.Transpose.TRANSVERSE],
    8: [Image.Transpose.ROTATE_270],
}


def quarters(height: int = 48, width: int = 80) -> RGBArray:
    """Red and green above blue and white."""
    image_array = np.empty((height, width, 3), np.uint8)
    image_array[: height // 2, : width // 2], image_array[: height // 2, width // 2 :] = RED, GREEN
    image_array[height // 2 :, : width // 2], image_array[height // 2 :, width // 2 :] = BLUE, WHITE
    return image_array


def smooth(height: int, width: int) -> RGBArray:
    """A low-frequency pattern that all resizing methods reproduce."""
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / width * 5), np.cos(y / height * 7), np.sin((x + y) / (width + height) * 9)]
    return np.stack([128 + 90 * wave for wave in waves], -1).astype(np.uint8)


def mean_difference(a: RGBArray, b: RGBArray) -> float:
    """Mean absolute difference of pixel values."""
    return float(np.abs(a.astype(np.float64) - b).mean())


def save(path: Path, image_array: RGBArray, **options: Any) -> Path:
    Image.fromarray(image_array).save(path, **options)
    return path


@pytest.mark.parametrize("kind", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("orientation", STORE)
def test_orientation(orientation: int, kind: str, tmp_path: Path) -> None:
    upright = quarters()
    stored = Image.fromarray(upright)
    for turn in STORE[orientation]:
        stored = stored.transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"a.{kind}"
    by_kind: dict[str, dict[str, Any]] = {"jpg": {"quality": 95, "subsampling": 0}, "webp": {"lossless": True}}
    options = by_kind.get(kind, {})
    stored.save(path, exif=exif, **options)
    image = ImageSource(path)
    assert image.size() == (48, 80)
    assert mean_difference(image.read(), upright) < 2
    for size in ((48, 80), (24, 40), (12, 20), (30, 30)):
        expected = np.asarray(Image.fromarray(upright).resize(size[::-1], Image.Resampling.BILINEAR))
        assert image.resize(size).shape == (*size, 3)
        assert mean_difference(image.resize(size), expected) < 5
    corner = image.resize((10, 10), box=(45, 2, 78, 20))
    assert mean_difference(corner, np.full((10, 10, 3), GREEN, np.uint8)) < 3


def exif_bytes(kind: int, count: int, value: bytes) -> bytes:
    """EXIF data with nothing but an orientation tag, of any type."""
    return b"Exif\0\0II*\0" + struct.pack("<IHHHI4sI", 8, 1, 0x0112, kind, count, value, 0)


@pytest.mark.parametrize(
    "exif", [exif_bytes(2, 2, b"6\0"), exif_bytes(1, 1, b"\6"), exif_bytes(7, 1, b"\6"), exif_bytes(3, 1, b"\x09\0")]
)
def test_invalid_orientation_is_ignored(exif: bytes, tmp_path: Path) -> None:
    image = ImageSource(save(tmp_path / "a.jpg", quarters(), quality=95, subsampling=0, exif=exif))
    assert image.size() == image.read().shape[:2] == quarters().shape[:2]
    assert mean_difference(image.resize(image.size()), quarters()) < 3


def test_size_reads_only_the_header(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", smooth(300, 400))
    path.write_bytes(path.read_bytes()[:100])
    assert ImageSource(path).size() == (300, 400)
    with pytest.raises(DataError, match="cannot be decoded"):
        ImageSource(path).read()


@pytest.mark.parametrize("orientation", TRANSPOSED)
def test_draft_mode_of_transposed_images(orientation: int, tmp_path: Path) -> None:
    upright = smooth(800, 480)
    stored = Image.fromarray(upright)
    for turn in STORE[orientation]:
        stored = stored.transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "a.jpg", exif=exif, quality=95)
    image = ImageSource(tmp_path / "a.jpg")
    assert mean_difference(image.resize((100, 60)), image.resize((100, 60), full=True)) < 1.5


@pytest.mark.parametrize("box", [None, (100.0, 40.0, 700.0, 560.0), (600.5, 400.25, 799.0, 600.0)])
def test_draft_mode_is_close_to_full_decoding(box: tuple[float, float, float, float] | None, tmp_path: Path) -> None:
    image = ImageSource(save(tmp_path / "a.jpg", smooth(600, 800), quality=95))
    for size in ((300, 300), (75, 100), (37, 50)):
        assert mean_difference(image.resize(size, box=box), image.resize(size, box=box, full=True)) < 1.5


def test_draft_mode_never_decodes_below_the_target_size(tmp_path: Path) -> None:
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 255  # invisible when decoded at half the size
    image = ImageSource(save(tmp_path / "a.jpg", stripes, quality=100, subsampling=0))
    assert image.resize((256, 256)).std() > 100
    assert image.resize((128, 128), box=(0, 0, 128, 128)).std() > 100
    assert image.resize((64, 64)).std() < 20


def test_resize_of_a_box(tmp_path: Path) -> None:
    image = ImageSource(save(tmp_path / "a.png", quarters()))
    parts = {(0, 0, 40, 24): RED, (40, 0, 80, 24): GREEN, (0, 24, 40, 48): BLUE, (40, 24, 80, 48): WHITE}
    for box, color in parts.items():
        assert (image.resize((7, 5), box=box)[1:-1, 1:-1] == color).all()  # pixels at edges blend with their neighbors
    np.testing.assert_array_equal(image.resize((48, 80), box=(0, 0, 80, 48)), image.read())


def kinds() -> dict[str, tuple[Image.Image, str, tuple[int, int, int]]]:
    """Images of one color, the suffix of their file, and the color they decode to."""
    size = (20, 16)
    palette = Image.new("P", size, 1)
    palette.putpalette([9, 9, 9, *RED])
    transparent = Image.new("P", size, 1)
    transparent.putpalette([9, 9, 9, *RED])
    transparent.info["transparency"] = 1
    return {
        "gray": (Image.new("L", size, 77), "png", (77, 77, 77)),
        "gray jpeg": (Image.new("L", size, 77), "jpg", (77, 77, 77)),
        "black and white": (Image.new("1", size, 1), "png", (255, 255, 255)),
        "cmyk": (Image.new("CMYK", size, (0, 255, 255, 0)), "jpg", (255, 0, 0)),
        "palette": (palette, "png", RED),
        "palette with transparency": (transparent, "png", (255, 255, 255)),
        "gif": (palette, "gif", RED),
        "alpha, opaque": (Image.new("RGBA", size, (*BLUE, 255)), "png", BLUE),
        "alpha, half transparent": (Image.new("RGBA", size, (0, 0, 0, 127)), "png", (128, 128, 128)),
        "alpha, transparent": (Image.new("RGBA", size, (*BLUE, 0)), "png", (255, 255, 255)),
        "gray with alpha": (Image.new("LA", size, (40, 0)), "png", (255, 255, 255)),
        "16 bit": (Image.new("I;16", size, 257 * 77), "png", (77, 77, 77)),
        "16 bit, dark": (Image.new("I;16", size, 200), "png", (1, 1, 1)),
        "16 bit tiff": (Image.new("I;16", size, 257 * 200), "tif", (200, 200, 200)),
        "32 bit tiff": (Image.new("I", size, 77), "tif", (77, 77, 77)),
        "float tiff": (Image.new("F", size, 77.4), "tif", (77, 77, 77)),
        "webp": (Image.new("RGB", size, GREEN), "webp", GREEN),
        "bmp": (Image.new("RGB", size, GREEN), "bmp", GREEN),
        "ppm": (Image.new("RGB", size, GREEN), "ppm", GREEN),
    }


@pytest.mark.parametrize("kind", kinds())
def test_every_mode_becomes_8_bit_rgb(kind: str, tmp_path: Path) -> None:
    image, suffix, color = kinds()[kind]
    image.save(tmp_path / f"a.{suffix}")
    image_source = ImageSource(tmp_path / f"a.{suffix}")
    assert image_source.size() == (16, 20)
    for decoded in (image_source.read(), image_source.resize((16, 20)), image_source.resize((8, 5))):
        assert decoded.dtype == np.uint8
        assert decoded.shape[2] == 3
        assert np.abs(decoded.astype(int) - color).max() <= (5 if suffix in ("jpg", "webp") else 1)


def test_mpo_decodes_its_first_image(tmp_path: Path) -> None:
    first, second = Image.fromarray(smooth(400, 600)), Image.fromarray(quarters())
    first.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[second], quality=95)
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.format == "MPO"
    assert mean_difference(ImageSource(tmp_path / "a.jpg").read(), smooth(400, 600)) < 2
    assert (
        mean_difference(
            ImageSource(tmp_path / "a.jpg").resize((50, 75)), ImageSource(smooth(400, 600)).resize((50, 75))
        )
        < 2
    )


def test_rgb_of_16_bit(tmp_path: Path) -> None:
    """Two pixels, encoded by hand because Pillow cannot write 16-bit RGB."""
    rows = b"\0" + struct.pack(">6H", 65535, 32896, 0, 257 * 40, 257 * 50, 257 * 60)
    parts = [(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    body = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    ]
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(body))
    assert ImageSource(tmp_path / "a.png").read().tolist() == [[[255, 128, 0], [40, 50, 60]]]


def test_suffix_does_not_matter(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", quarters())
    np.testing.assert_array_equal(ImageSource(str(path.rename(tmp_path / "a.jpg"))).read(), quarters())


def test_all_sources_give_the_same_pixels(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", quarters())
    with Image.open(path) as image:
        for source in (str(path), quarters(), image):
            np.testing.assert_array_equal(ImageSource(source).resize((20, 30)), ImageSource(path).resize((20, 30)))
            assert ImageSource(source).size() == (48, 80)
    assert ImageSource(quarters()).name == "<image in memory>"
    assert ImageSource(path).name == str(path)


def test_pillow_images_are_not_changed(tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", smooth(480, 640), quality=95)
    with Image.open(path) as image:
        image_source = ImageSource(image)
        small = image_source.resize((50, 60))
        assert image.size == (640, 480)
        assert image_source.size() == (480, 640)
        np.testing.assert_array_equal(image_source.read(), ImageSource(path).read())
        np.testing.assert_array_equal(small, ImageSource(path).resize((50, 60), full=True))


def test_arrays_are_not_changed() -> None:
    image_array = quarters()
    read = ImageSource(image_array).read()
    read[:] = 0
    np.testing.assert_array_equal(image_array, quarters())


@pytest.mark.parametrize("fraction", [0.3, 0.9])
def test_truncated_jpeg(fraction: float, tmp_path: Path) -> None:
    path = save(tmp_path / "a.jpg", np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * fraction)])
    for image in (ImageSource(path), ImageSource(Image.open(io.BytesIO(path.read_bytes())))):
        for decode in (image.read, lambda image=image: image.resize((8, 8))):
            with pytest.raises(
                DataError, match=r"^(\S+a\.jpg|<image in memory>): cannot be decoded \(.*\); the file is broken"
            ):
                decode()


def test_files_that_are_not_images(tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_text("text")
    Image.new("RGB", (4, 4)).save(tmp_path / "a.pdf")
    for name in ("notes.jpg", "a.pdf"):
        with pytest.raises(DataError) as raised:
            ImageSource(tmp_path / name).size()
        assert str(raised.value) == f"{tmp_path / name}: not an image of a known format ({', '.join(FORMATS)})"
    with pytest.raises(DataError, match=r"gone\.jpg: expected a file, got a path that does not exist$"):
        ImageSource(tmp_path / "gone.jpg").read()
    with pytest.raises(DataError, match=r": expected an image, got a folder"):
        ImageSource(tmp_path).read()


def test_images_above_max_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.png", quarters(100, 200))
    monkeypatch.setattr("blitznet.core.image.MAX_PIXELS", 19_999)
    with pytest.raises(DataError, match=r"a\.png: expected at most .* pixels, got 200x100; make it smaller$"):
        ImageSource(path).size()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 9_000)  # Pillow refuses above twice this
    with pytest.raises(DataError, match=r"a\.png: expected at most .* pixels, got more; make it smaller$"):
        ImageSource(path).size()


@pytest.mark.parametrize(
    ("array", "kind", "message"),
    [
        (np.zeros((4, 4), np.uint8), BlitzNetError, r"^image: expected shape \(any, any, 3\), got \(4, 4\)$"),
        (np.zeros((4, 4, 4), np.uint8), BlitzNetError, r"^image: expected shape \(any, any, 3\), got \(4, 4, 4\)$"),
        (np.zeros((4, 4, 3), np.float32), DataError, r"^image: expected uint8 RGB, got float32$"),
    ],
)
def test_invalid_arrays(array: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        ImageSource(array).read()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (None, "got NoneType; cv2.imread returns None for a file that it cannot read"),
        (["a.jpg"], "got list; predictor.batch and predictor.stream take several images"),
        (3, "got int"),
        ({"path": "a.jpg"}, "got dict"),
        (np.zeros((0, 80, 3), np.uint8), "expected at least one pixel, got 0x80x3; an empty crop?"),
        (np.zeros((50, 0, 3), np.uint8), "expected at least one pixel, got 50x0x3; an empty crop?"),
        (Image.new("RGB", (0, 5)), "expected at least one pixel, got 0x5; an empty crop?"),
    ],
)
def test_what_is_no_image_is_an_error_of_one_line(source: Any, message: str) -> None:
    with pytest.raises(DataError) as raised:
        ImageSource(source)
    assert str(raised.value).endswith(message)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, io.BytesIO])
def test_contents_of_files(kind: type[Any], tmp_path: Path) -> None:
    content = save(tmp_path / "a.png", quarters()).read_bytes()
    assert mean_difference(ImageSource(kind(content)).read(), quarters()) == 0
    with pytest.raises(DataError):
        ImageSource(kind(b"x")).read()


def test_errors_of_unreadable_files_name_the_reason(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "lfs.jpg").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    for path, message in (
        (tmp_path, "got a folder; predictor.batch and predictor.stream predict its images"),
        (tmp_path / "empty.jpg", "got an empty file"),
        (tmp_path / "lfs.jpg", "run `git lfs pull`"),
        (tmp_path / ("x" * 300), r"cannot be read \(File name too long\)"),
        (b"", "got an empty file"),
    ):
        with pytest.raises(DataError, match=message):
            ImageSource(path).read()

"""Every image file decodes to upright 8-bit RGB, or raises a DataError of one line."""

import io
import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from blitznet.core.arrays import RGBArray
from blitznet.core.errors import DataError
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


def exif_of_orientation_6(tag: int, kind: int, count: int, value: bytes) -> bytes:
    """EXIF data with an orientation and another tag."""
    entries = sorted([(0x0112, 3, 1, b"\6\0\0\0"), (tag, kind, count, value)])
    packed = b"".join(struct.pack("<HHI4s", *entry) for entry in entries)
    return b"Exif\0\0II*\0" + struct.pack("<IH", 8, len(entries)) + packed + bytes(4)


@pytest.mark.filterwarnings("ignore:.*EXIF.*:UserWarning")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    "exif",
    [
        exif_of_orientation_6(0x0100, 2, 4, b"abc"),  # the width as text
        exif_of_orientation_6(0x0101, 9, 1, b"\xff" * 4),  # a height of -1
        exif_of_orientation_6(0x0102, 6, 1, b"\xff"),  # -1 bits
        exif_of_orientation_6(0x011A, 2, 4, b"abc"),  # a resolution as text
        exif_of_orientation_6(0x011A, 11, 1, struct.pack("<f", float("nan"))),
        exif_of_orientation_6(0x8769, 4, 1, b"\xff\xff\0\0"),  # a directory outside of the data
    ],
)
def test_orientation_beside_broken_tags(exif: bytes, kind: str) -> None:
    content = io.BytesIO()
    stored = Image.fromarray(quarters()).transpose(Image.Transpose.ROTATE_90)
    stored.save(content, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {"quality": 95}))
    image = ImageSource(content.getvalue())
    assert image.size() == (48, 80)
    assert mean_difference(image.read(), quarters()) < 4


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("exif", [b"Exif\0\0no tiff", b"Exif\0\0II*\0\x08\0", b"Exif\0\0II+\0\x08\0\0\0" + bytes(9)])
def test_broken_exif_data_do_not_matter(exif: bytes, kind: str) -> None:
    content = io.BytesIO()
    Image.fromarray(quarters()).save(content, kind, exif=exif)
    assert ImageSource(content.getvalue()).size() == ImageSource(content.getvalue()).read().shape[:2] == (48, 80)


def test_broken_text_profile_does_not_matter(tmp_path: Path) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("Raw profile type exif", "\nexif\n 12\nzzzz")
    assert ImageSource(save(tmp_path / "a.png", quarters(), pnginfo=text)).read().shape == (48, 80, 3)


@pytest.mark.parametrize("orientation", STORE)
def test_orientation_of_a_tiff_in_xmp_data(orientation: int, tmp_path: Path) -> None:
    stored = Image.fromarray(quarters())
    for turn in STORE[orientation]:
        stored = stored.transpose(turn)
    xmp = f'<rdf:Description xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="{orientation}"/>'
    stored.save(tmp_path / "a.tif", tiffinfo={700: xmp.encode()})
    image = ImageSource(tmp_path / "a.tif")
    assert image.size() == (48, 80)
    np.testing.assert_array_equal(image.read(), quarters())
    np.testing.assert_array_equal(image.resize((48, 80), box=(0, 0, 80, 48)), quarters())


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
    transparent_color, transparent_gray = Image.new("RGB", size, RED), Image.new("I;16", size, 257 * 77)
    transparent_color.info["transparency"], transparent_gray.info["transparency"] = RED, 257 * 77
    return {
        "gray": (Image.new("L", size, 77), "png", (77, 77, 77)),
        "gray jpeg": (Image.new("L", size, 77), "jpg", (77, 77, 77)),
        "black and white": (Image.new("1", size, 1), "png", (255, 255, 255)),
        "cmyk": (Image.new("CMYK", size, (0, 255, 255, 0)), "jpg", (255, 0, 0)),
        "palette": (palette, "png", RED),
        "palette with transparency": (transparent, "png", (255, 255, 255)),
        "color with transparency": (transparent_color, "png", (255, 255, 255)),
        "16 bit with transparency": (transparent_gray, "png", (255, 255, 255)),
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
        "float tiff, up to 1": (Image.new("F", size, 77 / 255), "tif", (77, 77, 77)),
        "float tiff, up to 65,535": (Image.new("F", size, 257 * 77), "tif", (77, 77, 77)),
        "float tiff, without values": (Image.new("F", size, float("nan")), "tif", (0, 0, 0)),
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


def gray_tiff(bits: int, photometric: int, samples: int, value: bytes) -> bytes:
    """A TIFF of 20x16 equal pixels, encoded by hand because Pillow cannot write all types."""
    data = value * 320
    entries = [(256, 3, 1, 20), (257, 3, 1, 16), (258, 3, 1, bits), (259, 3, 1, 1), (262, 3, 1, photometric)]
    entries += [(273, 4, 1, 8 + 2 + 12 * 10 + 4), (277, 3, 1, samples), (278, 3, 1, 16), (279, 4, 1, len(data))]
    entries += [(338, 3, 1, 1)] if samples > 1 else [(339, 3, 1, 1)]  # alpha, or unsigned numbers
    entries[2] = (258, 3, samples, bits | (bits << 16 if samples > 1 else 0))
    packed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + packed + bytes(4) + data


@pytest.mark.parametrize(
    ("content", "level"),
    [
        (gray_tiff(8, 0, 1, b"\x4d"), 178),  # 0 is white
        (gray_tiff(16, 0, 1, struct.pack("<H", 257 * 77)), 178),
        (gray_tiff(16, 1, 1, struct.pack("<H", 257 * 77)), 77),
        (gray_tiff(8, 1, 2, b"\x28\x7f"), 168),  # gray that alpha is multiplied with already
        (b"P5\n20 16\n65535\n" + struct.pack(">H", 200) * 320, 1),
        (b"P5\n20 16\n4095\n" + struct.pack(">H", 2048) * 320, 128),
        (b"Pf\n20 16\n-1.0\n" + struct.pack("<f", 0.5) * 320, 128),
    ],
)
def test_gray_levels(content: bytes, level: int) -> None:
    assert np.unique(ImageSource(content).read()).tolist() == [level]


@pytest.mark.parametrize("values", [(0, 70_000), (-3, 200)])
def test_gray_values_without_a_white_are_an_error(values: tuple[int, int], tmp_path: Path) -> None:
    Image.fromarray(np.array([values], np.int32)).save(tmp_path / "a.tif")
    message = f"a\\.tif: expected values from 0 to 65535, got {min(0, *values)} to {max(values)}; save it with 8 or 16"
    with pytest.raises(DataError, match=message):
        ImageSource(tmp_path / "a.tif").read()


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
    for name, hint in (("notes.jpg", ""), ("a.pdf", "; it is a PDF, save its pages as images")):
        with pytest.raises(DataError) as raised:
            ImageSource(tmp_path / name).size()
        assert str(raised.value) == f"{tmp_path / name}: not an image of a known format ({', '.join(FORMATS)}){hint}"
    with pytest.raises(DataError, match=r"gone\.jpg: expected a file, got a path that does not exist$"):
        ImageSource(tmp_path / "gone.jpg").read()
    with pytest.raises(DataError, match=r": expected an image, got a folder"):
        ImageSource(tmp_path).read()


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (b"\0\0\0\x18ftypheic", "it is a HEIC image, save it as JPEG"),
        (b"\0\0\0\x1cftypmif1", "it is a HEIC image, save it as JPEG"),
        (b"\0\0\0\x20ftypavif", "it is an AVIF image, save it as JPEG"),
        (b"\0\0\0\x0cJXL \r\n", "it is a JPEG XL image"),
        (b"\0\0\0\x0cjP  \r\n", "it is a JPEG 2000 image"),
        (b"\0\0\0\x20ftypisom", "`blitznet video` and blitznet.open_video read videos"),
        (b"\n<!DOCTYPE HTML>", "it is a web page, download the image itself"),
        (b'<?xml version="1.0"?>\n<svg>', "it is an SVG drawing"),
        (b"\xff\xd8\xff\xe0", "cannot be decoded; the file is broken, truncated or of an unusual type"),
        (b"II*\0\x08\0\0\0", "cannot be decoded; the file is broken, truncated or of an unusual type"),
    ],
)
def test_errors_name_the_format_of_a_file(start: bytes, message: str) -> None:
    with pytest.raises(DataError) as raised:
        ImageSource(start + bytes(100)).size()
    assert message in str(raised.value)


def test_videos_and_addresses_are_errors_with_the_next_step(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"\0\0\0\x20ftypisom")
    with pytest.raises(DataError, match=r"; `blitznet video` and blitznet\.open_video read videos$"):
        ImageSource(tmp_path / "clip.mp4").size()
    for address in ("https://example.com/a.jpg?b=1", Path("http://example.com/a.jpg")):
        with pytest.raises(
            DataError, match=r"a path that does not exist; download it first, an address is not opened$"
        ):
            ImageSource(address).size()


def test_images_above_max_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.png", quarters(100, 200))
    monkeypatch.setattr("blitznet.core.image.MAX_PIXELS", 19_999)
    with pytest.raises(DataError, match=r"a\.png: expected at most .* pixels, got 200x100; make it smaller$"):
        ImageSource(path).size()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 9_000)  # Pillow refuses above twice this
    with pytest.raises(DataError, match=r"a\.png: expected at most .* pixels, got more; make it smaller$"):
        ImageSource(path).size()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 5), np.uint8), "(H, W, 3), got (4, 5); for a gray image use np.stack([image] * 3, -1)"),
        (np.zeros((4, 5, 4), np.uint8), "(H, W, 3), got (4, 5, 4); leave the alpha channel out with image[..., :3]"),
        (np.zeros((3, 4, 5), np.uint8), "got (3, 4, 5); put the channels last with image.transpose(1, 2, 0)"),
        (np.zeros((2, 4, 5, 3), np.uint8), "(H, W, 3), got (2, 4, 5, 3); give several images as a list"),
        (np.zeros((4, 5, 1), np.uint8), "image: expected an array (H, W, 3), got (4, 5, 1)"),
        (np.zeros(7, np.uint8), "image: expected an array (H, W, 3), got (7,)"),
        (
            np.zeros((4, 4, 3)),
            "image: expected uint8 RGB, got float64; for values from 0 to 1 use (image * 255).astype(np.uint8)",
        ),
        (np.zeros((4, 4, 3), np.int64), "image: expected uint8 RGB, got int64"),
    ],
)
def test_errors_of_arrays_name_the_conversion(array: Any, message: str) -> None:
    with pytest.raises(DataError) as raised:
        ImageSource(array).read()
    assert str(raised.value).endswith(message)


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


@pytest.mark.parametrize("mode", ["RGBA", "LA", "La", "P", "I;16", "F"])
def test_bands_of_an_image_give_the_whole(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    channels = rng.integers(0, 256, (40, 30, 4), np.uint8)
    if mode in ("RGBA", "LA", "La"):
        source = Image.fromarray(channels).convert("RGBA" if mode == "RGBA" else "LA")
    elif mode == "P":
        source = Image.fromarray(channels[..., 0], "L").convert("P")
        source.info["transparency"] = 90
    else:
        source = Image.fromarray(rng.integers(0, 65_536, (40, 30)).astype(np.uint16 if mode == "I;16" else np.float32))
    source = source.convert("La") if mode == "La" else source
    whole = ImageSource(source).read()
    monkeypatch.setattr("blitznet.core.image._BAND_PIXELS", 100)
    np.testing.assert_array_equal(ImageSource(source).read(), whole)


def test_16_bits_need_little_memory() -> None:
    content = io.BytesIO()
    Image.fromarray(np.full((2000, 2000), 30_000, np.uint16)).save(content, "PNG")
    tracemalloc.start()
    ImageSource(content.getvalue()).resize((300, 300))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 50_000_000  # 100 MB for all pixels as floats

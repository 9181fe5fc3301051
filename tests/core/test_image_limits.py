import struct
from io import BytesIO
from pathlib import Path
from time import process_time

import pytest
from PIL import Image

from blitznet.core.errors import DataError
from blitznet.core.image import ImageSource
from blitznet.core.image_limits import MAX_SCANS, has_too_many_scans, max_tiff_count
from support.hostile.case import encode, with_scans


def progressive(*, size: tuple[int, int] = (64, 48), **options: object) -> bytes:
    return encode(Image.new("RGB", size, "gray"), "JPEG", progressive=True, **options)


@pytest.mark.parametrize("kind", ["JPEG", "MPO"])
def test_files_of_encoders_have_few_scans(kind: str) -> None:
    images = [Image.effect_noise((64, 48), 90) for _ in range(2)]
    options = {"save_all": True, "append_images": images[1:]} if kind == "MPO" else {}
    content = encode(images[0], kind, progressive=True, exif=bytes(30_000) + b"\xff\xda\0\2" * 200, **options)
    assert not has_too_many_scans(content)
    assert not has_too_many_scans(content[:500])
    assert ImageSource(content).read().shape == (48, 64, 3)


def test_what_follows_the_end_is_not_counted() -> None:
    assert not has_too_many_scans(progressive() + b"\xff\xda\0\2" * 1_000)


def test_a_file_of_many_scans_is_refused() -> None:
    content = with_scans(progressive(size=(4000, 4000)), 20_000)
    start = process_time()
    for image in (ImageSource(content), ImageSource(BytesIO(content))):  # type: ignore[arg-type]
        with pytest.raises(DataError, match=f"expected a JPEG of at most {MAX_SCANS} scans, got more; save it again"):
            image.size()
    assert process_time() - start < 5  # decoding takes minutes


def test_a_file_of_many_segments_is_refused() -> None:
    content = progressive()
    assert has_too_many_scans(content[:-2] + b"\xff\xfe\0\2" * 10_000 + content[-2:])


def test_fill_bytes_and_a_cut_file_end_the_count() -> None:
    content = progressive()
    assert not has_too_many_scans(content[:-2] + b"\xff" * 1_000)
    assert not has_too_many_scans(content[:-1])


def make_tiff(order: str, *, count: int = 0, big: bool = False, kind: int = 4) -> bytes:
    """A TIFF whose directory states so many strips."""
    if big:
        start = struct.pack(order + "2sHHHQ", b"II" if order == "<" else b"MM", 43, 8, 0, 16)
        return start + struct.pack(order + "QHHQQQ", 1, 273, kind, count, 0, 0)
    start = struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, 8)
    return start + struct.pack(order + "HHHIII", 1, 273, kind, count, 0, 0)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("big", [False, True])
def test_numbers_of_a_tiff_directory_are_counted_before_pillow_reads_them(
    order: str, big: bool, tmp_path: Path
) -> None:
    content = make_tiff(order, count=900_000, big=big)
    assert max_tiff_count(BytesIO(content)) == 900_000
    assert max_tiff_count(BytesIO(make_tiff(order, count=900_000, big=big, kind=7))) == 0
    path = tmp_path / "a.tif"
    path.write_bytes(content)
    for source in (content, path):
        with pytest.raises(DataError, match="expected a TIFF of at most 200,000 strips, got 900,000; save it again"):
            ImageSource(source).size()


def test_broken_directories_count_nothing() -> None:
    content = make_tiff("<", count=900_000)
    for end in range(len(content) - 4):
        assert max_tiff_count(BytesIO(content[:end])) in (0, 900_000)
    for start in (b"II*\0\xff\xff\xff\xff", b"II+\0\x08\0\0\0" + b"\xff" * 8, b"II+\0\x08\0\0\0\x10", b"MM", b""):
        assert max_tiff_count(BytesIO(start)) == 0


def test_pillow_reads_the_tiffs_of_its_encoder() -> None:
    for options in ({}, {"big_tiff": True}, {"compression": "tiff_lzw"}):
        assert ImageSource(encode(Image.new("RGB", (64, 48)), "TIFF", **options)).read().shape == (48, 64, 3)


def bmp_rle(width: int, height: int) -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, 0, 0, 0, 256, 0)
    return struct.pack("<2sIHHI", b"BM", 0, 0, 0, 54 + 1024) + header + bytes(1024) + b"\1\0\0\0" * height + b"\0\1"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (bmp_rle(5000, 5000), "expected a BMP with run lengths of at most 16,000,000 pixels, got 25,000,000"),
        (b"P3\n2000 2000\n255\n", "expected a PPM in text of at most 2,000,000 pixels, got 4,000,000"),
        (b"P1\n9 9\n" + b"#\n" * 400_000, "expected at most 1,000 comments, got 400,000"),
    ],
)
def test_what_pillow_decodes_in_python_is_limited(content: bytes, message: str) -> None:
    start = process_time()
    with pytest.raises(DataError, match=f"{message}; save it again"):
        ImageSource(content).size()
    assert process_time() - start < 1


def test_small_images_in_text_and_run_lengths_are_read() -> None:
    assert ImageSource(b"P3\n# one\n2 1\n255\n1 2 3 4 5 6").read().tolist() == [[[1, 2, 3], [4, 5, 6]]]
    assert ImageSource(bmp_rle(8, 8)).read().shape == (8, 8, 3)

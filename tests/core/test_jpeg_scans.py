from io import BytesIO
from time import process_time

import pytest
from PIL import Image

from blitznet.core.errors import DataError
from blitznet.core.image import ImageSource
from blitznet.core.jpeg_scans import MAX_SCANS, has_too_many_scans
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

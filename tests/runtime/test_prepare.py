from pathlib import Path

import numpy as np
from PIL import Image

from blitznet.core.photo import Photo
from blitznet.runtime.prepare import as_photo, prepare
from runtime.fakes import SPEC


def test_every_kind_of_image_becomes_the_same_input(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (90, 70, 3), np.uint8)
    path = tmp_path / "one.png"
    Image.fromarray(pixels).save(path)
    photo = Photo(path)
    assert as_photo(photo) is photo
    fed = prepare([as_photo(image) for image in (pixels, Image.fromarray(pixels), path, str(path), photo)], SPEC)
    assert fed.shape == (5, 64, 48, 3)
    assert fed.dtype == np.uint8
    assert (fed == photo.fit((64, 48))).all()

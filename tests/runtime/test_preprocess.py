from pathlib import Path

import numpy as np
from PIL import Image

from blitznet.core.image import ImageSource
from blitznet.runtime.preprocess import as_image_source, preprocess_batch
from support.fake_engines import SPEC


def test_every_kind_of_image_becomes_the_same_input(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (90, 70, 3), np.uint8)
    path = tmp_path / "one.png"
    Image.fromarray(pixels).save(path)
    image_source = ImageSource(path)
    assert as_image_source(image_source) is image_source
    fed = preprocess_batch(
        [as_image_source(image) for image in (pixels, Image.fromarray(pixels), path, str(path), image_source)], SPEC
    )
    assert fed.shape == (5, 64, 48, 3)
    assert fed.dtype == np.uint8
    assert (fed == image_source.resize((64, 48))).all()

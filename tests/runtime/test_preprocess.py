from pathlib import Path

import numpy as np
from PIL import Image

from blitznet.core.image import ImageSource
from blitznet.runtime.preprocess import as_image_source, preprocess, preprocess_batch
from support.fake_engines import SPEC


def test_preprocess_batch_accepts_every_kind_of_image(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (90, 70, 3), np.uint8)
    path = tmp_path / "image.png"
    Image.fromarray(pixels).save(path)
    image_source = ImageSource(path)
    assert as_image_source(image_source) is image_source
    batch = preprocess_batch(
        [as_image_source(image) for image in (pixels, Image.fromarray(pixels), path, str(path), image_source)], SPEC
    )
    assert batch.shape == (5, 64, 48, 3)
    assert batch.dtype == np.uint8
    assert (batch == image_source.resize((64, 48))).all()


def test_preprocess_keeps_the_image_and_its_size() -> None:
    image_source = ImageSource(np.zeros((90, 70, 3), np.uint8))
    model_input = preprocess(image_source, SPEC)
    assert model_input.image is image_source
    assert model_input.original_size == (90, 70)
    assert model_input.pixels.shape == (64, 48, 3)
    assert not model_input.tiles

import numpy as np
import pytest
from numpy.typing import NDArray

from blitznet.core.arrays import ClassMap, Floats
from blitznet.postprocess import upsample as module
from blitznet.postprocess.upsample import upsample_argmax
from support.fake_engines import MAP

SIZES = [(16, 12), (64, 48), (61, 37), (5, 7), (1, 1), (1, 90), (90, 1), (33, 200)]


def reference_upsample_argmax(logits: Floats, size: tuple[int, int]) -> ClassMap:
    """Upsample all logits to (C, H, W), then argmax."""

    def source_indices(inside: int, outside: int) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats]:
        position = np.clip((np.arange(outside) + 0.5) * (inside / outside) - 0.5, 0, inside - 1)
        low = np.floor(position)
        return low.astype(np.intp), np.minimum(low + 1, inside - 1).astype(np.intp), (position - low).astype(np.float32)

    low, high, weight = source_indices(logits.shape[2], size[1])
    resized = logits[:, :, low] + (logits[:, :, high] - logits[:, :, low]) * weight
    low, high, weight = source_indices(logits.shape[1], size[0])
    full = resized[:, low] + (resized[:, high] - resized[:, low]) * weight[:, None]
    return np.asarray(full.argmax(0), np.uint8)


def blobs(channels: int) -> Floats:
    """Logits like those of a trained network: smooth, with one or two high channels at each pixel."""
    y, x = np.meshgrid(np.linspace(0, 1, MAP[0]), np.linspace(0, 1, MAP[1]), indexing="ij")
    rng = np.random.default_rng(4)
    centres = rng.random((channels, 2, 1, 1))
    return np.asarray(8 - 30 * ((y - centres[:, 0]) ** 2 + (x - centres[:, 1]) ** 2), np.float32)


NOISE = np.random.default_rng(1).normal(0, 3, (21, *MAP)).astype(np.float32)
EQUAL = np.random.default_rng(1).integers(0, 2, (4, *MAP)).astype(np.float32)
CELL = np.random.default_rng(1).normal(0, 1, (3, 1, 1)).astype(np.float32)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("chunk", [1, 100, 1 << 20])
@pytest.mark.parametrize("logits", [NOISE, EQUAL, CELL, blobs(6)], ids=["noise", "equal", "cell", "blobs"])
def test_upsample_argmax_equals_the_reference(
    size: tuple[int, int], chunk: int, logits: Floats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CHUNK_PIXELS", chunk)
    np.testing.assert_array_equal(upsample_argmax(logits, size), reference_upsample_argmax(logits, size))


@pytest.mark.parametrize("size", SIZES)
def test_upsample_argmax_equals_torchs_bilinear(size: tuple[int, int]) -> None:
    torch = pytest.importorskip("torch")
    logits = np.random.default_rng(2).normal(0, 3, (5, *MAP))
    full = torch.nn.functional.interpolate(
        torch.from_numpy(logits)[None], size=size, mode="bilinear", align_corners=False
    )[0].numpy()
    first, second = np.sort(full, 0)[-1], np.sort(full, 0)[-2]
    clear = first - second > 1e-4
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(upsample_argmax(logits.astype(np.float32), size)[clear], full.argmax(0)[clear])

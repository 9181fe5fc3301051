import numpy as np
import pytest
from numpy.typing import NDArray

from blitznet.core.anchors import feature_map_sizes, generate_anchors
from blitznet.core.arrays import Floats
from blitznet.core.boxes import decode
from blitznet.core.errors import UsageError
from blitznet.core.models import get_spec
from blitznet.core.outputs import NmsOutputs, Outputs
from blitznet.runtime.predictor import Predictor
from blitznet.runtime.tta import FlipTTA, mirrored_anchor_indices
from support.fake_engines import ANCHORS, MAP, SPEC, FakeEngine, random_outputs

MIRROR_SCALE, MIRROR_SHIFT = np.array([-1, 1, 1, 1], np.float32), np.array([1, 0, 0, 0], np.float32)
IMAGE = np.random.default_rng(0).integers(0, 256, (1, *SPEC.size, 3), np.uint8)


class MirrorEngine(FakeEngine):
    """Returns different outputs for the image and for its mirror image."""

    def __init__(self, plain: Outputs, flipped: Outputs) -> None:
        super().__init__(plain)
        self.flipped = flipped

    def run(self, images: NDArray[np.uint8]) -> Outputs | NmsOutputs:
        super().run(images)
        return self.outputs if np.array_equal(images, IMAGE) else self.flipped


def arrays(outputs: Outputs) -> tuple[Floats, Floats, Floats]:
    """Offsets, class logits, segmentation logits."""
    assert outputs.offsets is not None
    assert outputs.logits is not None
    assert outputs.segmentation_logits is not None
    return outputs.offsets, outputs.logits, outputs.segmentation_logits


@pytest.mark.parametrize("name", ["blitznet300-lite", "blitznet300-s4", "blitznet512-s8"])
def test_mirrored_anchors_are_mirror_images(name: str) -> None:
    layout, size = get_spec(name).anchors, (300, 420)
    grids = feature_map_sizes(layout, size)
    anchors, indices = generate_anchors(layout, grids), mirrored_anchor_indices(layout, grids)
    expected = anchors * MIRROR_SCALE + MIRROR_SHIFT
    np.testing.assert_allclose(anchors[indices], expected, atol=1e-6)
    np.testing.assert_array_equal(indices[indices], np.arange(len(indices)))


def test_outputs_are_averaged() -> None:
    """Each anchor's outputs and those of the mirrored anchor in the mirror image, box by box."""
    plain, flipped = random_outputs(seed=1), random_outputs(seed=2)
    engine = MirrorEngine(plain, flipped)
    (offsets, logits, segmentation_logits), first, second = (
        arrays(outputs) for outputs in (FlipTTA(engine).run(IMAGE), plain, flipped)
    )
    np.testing.assert_array_equal(engine.batches[1], IMAGE[:, :, ::-1])
    for row, anchor in enumerate(ANCHORS):
        gaps = np.abs(ANCHORS - anchor * MIRROR_SCALE - MIRROR_SHIFT).max(1)
        mirrored = int(gaps.argmin())
        assert gaps[mirrored] < 1e-6
        np.testing.assert_allclose(logits[0, row], (first[1][0, row] + second[1][0, mirrored]) / 2, rtol=1e-5)
        offset = second[0][0, mirrored] * MIRROR_SCALE
        box = decode(second[0][0, [mirrored]], ANCHORS[[mirrored]], SPEC.anchors.variances)[0]
        mirrored_box = decode(offset[None], ANCHORS[[row]], SPEC.anchors.variances)[0]
        np.testing.assert_allclose(mirrored_box, [1 - box[2], box[1], 1 - box[0], box[3]], atol=1e-5)
        np.testing.assert_allclose(offsets[0, row], (first[0][0, row] + offset) / 2, rtol=1e-5)
    for column in range(MAP[1]):
        both = first[2][..., column] + second[2][..., MAP[1] - 1 - column]
        np.testing.assert_allclose(segmentation_logits[..., column], both / 2, rtol=1e-5)


def test_predictor_with_flip_tta() -> None:
    engine = MirrorEngine(random_outputs(seed=1), random_outputs(seed=2))
    result = Predictor(FlipTTA(engine))(IMAGE[0])
    assert len(engine.batches) == 2
    assert result.class_map is not None
    assert (FlipTTA(engine).name, FlipTTA(engine).spec) == (engine.name, engine.spec)


def test_models_with_one_task() -> None:
    outputs = random_outputs()
    boxes = FlipTTA(FakeEngine(Outputs(outputs.offsets, outputs.logits, None))).run(IMAGE)
    assert boxes.segmentation_logits is None
    assert boxes.logits is not None
    maps = FlipTTA(FakeEngine(Outputs(None, None, outputs.segmentation_logits))).run(IMAGE)
    assert maps.logits is None
    assert maps.segmentation_logits is not None


def test_model_with_nms_inside_is_refused() -> None:
    none = np.zeros((1, 0), np.float32)
    outputs = NmsOutputs(np.zeros((1, 0, 4), np.float32), none, none.astype(np.int64), np.zeros(1, np.int64), None)
    with pytest.raises(
        UsageError, match=r"^tta: expected a model with raw outputs, got one with NMS inside; export it without --nms$"
    ):
        FlipTTA(FakeEngine(outputs)).run(IMAGE)

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
from blitznet.runtime.tta import FlipTTA, mirrored_places
from support.fake_engines import ANCHORS, MAP, SPEC, FakeEngine, random_outputs

TURN, SHIFT = np.array([-1, 1, 1, 1], np.float32), np.array([1, 0, 0, 0], np.float32)
IMAGE = np.random.default_rng(0).integers(0, 256, (1, *SPEC.size, 3), np.uint8)


class TwoFaced(FakeEngine):
    """Answers one thing to the image and another to its mirror image."""

    def __init__(self, plain: Outputs, turned: Outputs) -> None:
        super().__init__(plain)
        self.turned = turned

    def run(self, images: NDArray[np.uint8]) -> Outputs | NmsOutputs:
        super().run(images)
        return self.outputs if np.array_equal(images, IMAGE) else self.turned


def arrays(outputs: Outputs) -> tuple[Floats, Floats, Floats]:
    """Offsets, class logits, class map."""
    assert outputs.offsets is not None
    assert outputs.logits is not None
    assert outputs.segmentation_logits is not None
    return outputs.offsets, outputs.logits, outputs.segmentation_logits


@pytest.mark.parametrize("name", ["blitznet300-lite", "blitznet300-s4", "blitznet512-s8"])
def test_anchors_lie_where_a_mirror_shows_them(name: str) -> None:
    layout, size = get_spec(name).anchors, (300, 420)
    sides = feature_map_sizes(layout, size)
    anchors, place = generate_anchors(layout, sides), mirrored_places(layout, sides)
    expected = anchors * TURN + SHIFT
    np.testing.assert_allclose(anchors[place], expected, atol=1e-6)
    np.testing.assert_array_equal(place[place], np.arange(len(place)))


def test_answers_are_the_mean_of_both_looks() -> None:
    """Box by box: each anchor's box, and the mirror image of what the mirrored anchor said of the mirrored image."""
    plain, turned = random_outputs(seed=1), random_outputs(seed=2)
    engine = TwoFaced(plain, turned)
    (offsets, logits, class_map), first, second = (arrays(one) for one in (FlipTTA(engine).run(IMAGE), plain, turned))
    np.testing.assert_array_equal(engine.fed[1], IMAGE[:, :, ::-1])
    for row, anchor in enumerate(ANCHORS):
        gaps = np.abs(ANCHORS - anchor * TURN - SHIFT).max(1)
        other = int(gaps.argmin())
        assert gaps[other] < 1e-6
        np.testing.assert_allclose(logits[0, row], (first[1][0, row] + second[1][0, other]) / 2, rtol=1e-5)
        offset = second[0][0, other] * TURN
        seen = decode(second[0][0, [other]], ANCHORS[[other]], SPEC.anchors.variances)[0]
        back = decode(offset[None], ANCHORS[[row]], SPEC.anchors.variances)[0]
        np.testing.assert_allclose(back, [1 - seen[2], seen[1], 1 - seen[0], seen[3]], atol=1e-5)
        np.testing.assert_allclose(offsets[0, row], (first[0][0, row] + offset) / 2, rtol=1e-5)
    for column in range(MAP[1]):
        both = first[2][..., column] + second[2][..., MAP[1] - 1 - column]
        np.testing.assert_allclose(class_map[..., column], both / 2, rtol=1e-5)


def test_a_predictor_looks_through_it() -> None:
    engine = TwoFaced(random_outputs(seed=1), random_outputs(seed=2))
    result = Predictor(FlipTTA(engine))(IMAGE[0])
    assert len(engine.fed) == 2
    assert result.class_map is not None
    assert (FlipTTA(engine).name, FlipTTA(engine).spec) == (engine.name, engine.spec)


def test_one_task_alone() -> None:
    whole = random_outputs()
    boxes = FlipTTA(FakeEngine(Outputs(whole.offsets, whole.logits, None))).run(IMAGE)
    assert boxes.segmentation_logits is None
    assert boxes.logits is not None
    maps = FlipTTA(FakeEngine(Outputs(None, None, whole.segmentation_logits))).run(IMAGE)
    assert maps.logits is None
    assert maps.segmentation_logits is not None


def test_finished_boxes_have_no_mean() -> None:
    none = np.zeros((1, 0), np.float32)
    given = NmsOutputs(np.zeros((1, 0, 4), np.float32), none, none.astype(np.int64), np.zeros(1, np.int64), None)
    with pytest.raises(UsageError, match="finishes boxes itself, which cannot be averaged; export it without --nms"):
        FlipTTA(FakeEngine(given)).run(IMAGE)

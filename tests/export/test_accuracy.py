from dataclasses import replace
from pathlib import Path
from time import sleep

import numpy as np
import pytest

from blitznet.cli.datasets import open_datasets
from blitznet.core.arrays import RGBArray
from blitznet.core.errors import ModelError, UsageError
from blitznet.core.outputs import Outputs
from blitznet.core.sample import Sample, Subset
from blitznet.data.mapping import MappedDataset
from blitznet.export.accuracy import AccuracyChange, EngineScores, accuracy_change, require_accuracy, subset_without
from blitznet.metrics.evaluate import EvalConfig, evaluate
from blitznet.runtime.predictor import Predictor
from support import synthetic_data
from support.cli_datasets import TOY_SPEC, write_voc
from support.fake_engines import FakeEngine, random_outputs

AP50, MIOU = "AP50 of frequent classes", "mIoU"


class SlowEngine(FakeEngine):
    """An engine that sleeps before it returns."""

    def run(self, images: RGBArray) -> Outputs:
        sleep(0.02)
        outputs = super().run(images)
        assert isinstance(outputs, Outputs)
        return outputs


class UnannotatedSubset(Subset):
    """Images without annotations."""

    def __getitem__(self, index: int, /) -> Sample:
        none = np.zeros(len(self.class_names), np.bool_)
        return replace(super().__getitem__(index), annotated_box_classes=none, annotated_mask_classes=none, mask=None)


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MappedDataset:
    monkeypatch.chdir(tmp_path)
    return open_datasets([write_voc(count=40)], synthetic_data.NAMES)[0]


def change(ap50: float, miou: float) -> AccuracyChange:
    """A change from 0.8 and 0.5 to these scores."""
    return AccuracyChange(
        EngineScores({AP50: 0.8, MIOU: 0.5}, 6.0), EngineScores({AP50: ap50, MIOU: miou}, 3.0), num_images=12
    )


def test_accuracy_change_scores_and_times_both_engines(dataset: MappedDataset) -> None:
    before = SlowEngine(random_outputs(seed=0), TOY_SPEC)
    after = FakeEngine(random_outputs(seed=1), TOY_SPEC)
    steps: list[tuple[str, int, int]] = []
    measured = accuracy_change(before, after, [dataset], lambda *step: steps.append(step))
    for engine, scores in ((before, measured.before), (after, measured.after)):
        total = evaluate(Predictor(FakeEngine(engine.outputs, TOY_SPEC)), [dataset], EvalConfig()).total
        assert scores.scores == {AP50: total.detection.ap50_frequent, MIOU: total.segmentation.miou}
    assert measured.num_images == 40
    assert 20 <= measured.before.milliseconds < 200
    assert measured.after.milliseconds < 20
    assert steps[-1] == ("images, after", 40, 40)
    assert {label for label, _, _ in steps} == {"images, before", "images, after"}


@pytest.mark.parametrize(
    ("ap50", "miou", "message"),
    [
        (0.8, 0.5, None),
        (0.9, 0.4901, None),
        (0.78, 0.5, f"expected a drop of {AP50} by at most 1 point, got 80.0 to 78.0"),
        (0.785, 0.3, f"expected a drop of {MIOU} by at most 1 point, got 50.0 to 30.0"),
    ],
)
def test_require_accuracy_deletes_a_file_that_loses_more_than_a_point(
    ap50: float, miou: float, message: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "int8.onnx"
    path.touch()
    if message is None:
        require_accuracy(change(ap50, miou), path)
        assert path.exists()
        return
    with pytest.raises(ModelError) as caught:
        require_accuracy(change(ap50, miou), path)
    hint = "keep such a file with --allow-accuracy-drop"
    assert str(caught.value) == f"{path}: {message}; the file was deleted; {hint}"
    assert not path.exists()


def test_subset_without_excludes_used_samples(dataset: MappedDataset) -> None:
    subset = subset_without(dataset, range(0, 40, 2), max_samples=5)
    assert (subset.dataset, subset.indices) == (dataset, (1, 9, 17, 25, 33))
    assert (subset.title, subset.class_names, len(subset)) == (dataset.title, dataset.class_names, 5)
    assert subset[1].id == dataset[9].id
    assert subset_without(dataset, range(38), max_samples=5).indices == (38, 39)


def test_datasets_without_usable_samples_are_rejected(dataset: MappedDataset) -> None:
    with pytest.raises(UsageError, match="expected images that are not calibration data, got none; add --eval-data"):
        subset_without(dataset, range(40), max_samples=5)
    engine = FakeEngine(random_outputs(), TOY_SPEC)
    with pytest.raises(UsageError, match="expected enough objects or class maps to measure accuracy on, got too few"):
        accuracy_change(engine, engine, [UnannotatedSubset(dataset, (0, 1))])

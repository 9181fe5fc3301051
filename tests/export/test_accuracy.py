from dataclasses import replace
from io import StringIO
from pathlib import Path
from time import sleep

import numpy as np
import pytest
from rich.console import Console

from blitznet.cli.sets import open_sets
from blitznet.core.arrays import RGBArray
from blitznet.core.errors import ModelError, UsageError
from blitznet.core.outputs import Outputs
from blitznet.core.sample import Sample
from blitznet.data.mapping import MappedDataset
from blitznet.export.accuracy import (
    AccuracyChange,
    Figures,
    Part,
    accuracy_change,
    accuracy_table,
    require_accuracy,
    without,
)
from blitznet.metrics.evaluate import EvalConfig, evaluate
from blitznet.runtime.predictor import Predictor
from support import synthetic_data
from support.cli_datasets import TOY_SPEC, write_voc
from support.fake_engines import FakeEngine, random_outputs


class SlowEngine(FakeEngine):
    """Takes its time."""

    def run(self, images: RGBArray) -> Outputs:
        sleep(0.02)
        given = super().run(images)
        assert isinstance(given, Outputs)
        return given


class Bare(Part):
    """Images of which nothing is known."""

    def __getitem__(self, index: int, /) -> Sample:
        nothing = np.zeros(len(self.class_names), np.bool_)
        return replace(
            super().__getitem__(index), annotated_box_classes=nothing, annotated_mask_classes=nothing, mask=None
        )


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MappedDataset:
    monkeypatch.chdir(tmp_path)
    return open_sets([write_voc(count=40)], synthetic_data.NAMES)[0]


def change(ap50: float, miou: float) -> AccuracyChange:
    return AccuracyChange(
        Figures({"pooled AP50": 0.8, "mIoU": 0.5}, 6.0), Figures({"pooled AP50": ap50, "mIoU": miou}, 3.0), 12
    )


def test_both_are_scored_on_the_same_images_and_timed(dataset: MappedDataset) -> None:
    before = SlowEngine(random_outputs(seed=0), TOY_SPEC)
    after = FakeEngine(random_outputs(seed=1), TOY_SPEC)
    found = accuracy_change(before, after, [dataset])
    for engine, figures in ((before, found.before), (after, found.after)):
        total = evaluate(Predictor(FakeEngine(engine.outputs, TOY_SPEC)), [dataset], EvalConfig()).total
        assert figures.scores == {"pooled AP50": total.detection.ap50_pooled, "mIoU": total.segmentation.miou}
    assert found.images == 40
    assert 20 <= found.before.milliseconds < 200
    assert found.after.milliseconds < 20


@pytest.mark.parametrize(
    ("ap50", "miou", "words"),
    [
        (0.8, 0.5, None),
        (0.9, 0.4901, None),
        (0.78, 0.5, "pooled AP50 drops from 80.0 to 78.0, expected no more than 1"),
        (0.785, 0.3, "mIoU drops from 50.0 to 30.0, expected no more than 1"),
    ],
)
def test_a_drop_over_a_point_is_refused(ap50: float, miou: float, words: str | None, tmp_path: Path) -> None:
    path = tmp_path / "int8.onnx"
    path.touch()
    if words is None:
        require_accuracy(change(ap50, miou), path)
        assert path.exists()
        return
    with pytest.raises(ModelError) as caught:
        require_accuracy(change(ap50, miou), path)
    assert str(caught.value) == f"{path}: {words}; the file was not kept, keep one with --allow-drop"
    assert not path.exists()


def test_table() -> None:
    console = Console(width=80, record=True, file=StringIO())
    console.print(accuracy_table(change(0.79, 0.52), "float32", "int8"))
    rows = [line.split() for line in console.export_text().splitlines()]
    assert rows == [
        "on 12 images float32 int8 change".split(),
        "pooled AP50, percent 80.0 79.0 -1.0".split(),
        "mIoU, percent 50.0 52.0 +2.0".split(),
        "network, ms 6.0 3.0 x 0.50".split(),
    ]


def test_what_was_calibrated_on_is_left_out(dataset: MappedDataset) -> None:
    part = without(dataset, range(0, 40, 2), most=5)
    assert part == Part(dataset, (1, 9, 17, 25, 33))
    assert (part.title, part.class_names, len(part)) == (dataset.title, dataset.class_names, 5)
    assert part[1].id == dataset[9].id
    assert without(dataset, range(38), most=5).places == (38, 39)


def test_mistakes(dataset: MappedDataset) -> None:
    with pytest.raises(UsageError, match="all images are calibrated on; name others with --accuracy"):
        without(dataset, range(40), most=5)
    engine = FakeEngine(random_outputs(), TOY_SPEC)
    with pytest.raises(UsageError, match="too few objects and no class maps to measure the accuracy on"):
        accuracy_change(engine, engine, [Bare(dataset, (0, 1))])

"""A head predicts only what the training sets, or a teacher, can teach it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import blitznet
from blitznet.core.errors import DataError, UsageError
from blitznet.core.image import ImageSource
from blitznet.nets.model_files import load_model
from blitznet.nets.torch_engine import TorchEngine
from blitznet.runtime.predictor import Predictor
from blitznet.train.callbacks import RunStart, TrainCallback
from blitznet.train.loop import train
from support import synthetic_data, tiny_models
from support.synthetic_data import Drawing
from support.training_runs import lines, tiny_config

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_models.register()
    monkeypatch.setattr("blitznet.train.loop.plot_log", lambda *_: None)


class Start(TrainCallback):
    """Keeps the start of the run."""

    def __init__(self) -> None:
        self.starts: list[RunStart] = []

    def on_start(self, start: RunStart) -> None:
        self.starts.append(start)


def write_boxes(root: Path, drawings: Sequence[Drawing], label: int) -> str:
    """A VOC devkit with boxes of one class only and without masks."""
    selected = [drawing for drawing in drawings if (drawing.labels == label).any()]
    text = synthetic_data.write_voc(root, selected)
    (root / "classes.txt").write_text(f"{synthetic_data.NAMES[label]}\n")
    for drawing in selected:
        path = root / "Annotations" / f"{drawing.id}.xml"
        objects = path.read_text().split("<object>")
        of_class = [part for part in objects[1:] if f"<name>{synthetic_data.NAMES[label]}<" in part]
        path.write_text("<object>".join([objects[0], *of_class]).removesuffix("</annotation>") + "</annotation>")
    for mask in (root / "SegmentationClass").iterdir():
        mask.unlink()
    return text


def predictor(path: Path) -> Predictor:
    net, spec = load_model(path)
    return Predictor(TorchEngine(net, spec))


def run(data: Sequence[str], out: Path, **changes: Any) -> tuple[Path, list[str], RunStart]:
    notices: list[str] = []
    start = Start()
    config = tiny_config(tuple(data), out, model="tiny-lite", class_names=synthetic_data.NAMES, steps=3, **changes)
    return train(config, callbacks=[start], notify=notices.append), notices, start.starts[0]


def test_masks_alone_leave_the_boxes_out(tmp_path: Path) -> None:
    drawings = synthetic_data.draw(6, seed=1)
    model, notices, start = run([synthetic_data.write_folder(tmp_path / "data", drawings)], tmp_path / "out")
    assert notices == ["no training set has boxes: the model predicts a class map only"]
    assert load_model(model)[1].tasks == start.spec.tasks == ("segmentation",)
    result = predictor(model)(ImageSource(drawings[0].image), min_score=0.0)
    assert len(result) == 0
    assert result.class_map is not None


def test_boxes_alone_leave_the_class_map_out(tmp_path: Path) -> None:
    text = synthetic_data.write_coco(tmp_path / "data", synthetic_data.draw(6, seed=1), outlines=False)
    model, notices, _ = run([f"{text},unlabelled=skip"], tmp_path / "out")
    assert any("no training set has masks: the model predicts boxes only" in notice for notice in notices)
    assert any("1 of 6 images have no label and are left out" in notice for notice in notices)
    assert load_model(model)[1].tasks == ("detection",)


def test_a_mixture_never_predicts_what_no_set_annotates(tmp_path: Path) -> None:
    drawings = synthetic_data.draw(8, seed=1)
    boxes = write_boxes(tmp_path / "boxes", drawings, 2)
    masks = synthetic_data.write_folder(tmp_path / "masks", drawings) + ",annotated=cross+ell"
    model, notices, start = run([boxes, masks], tmp_path / "out", allow_leaks=True)
    assert all(line["loss/total"] < 50 for line in lines(tmp_path / "out")), "squares have no mask to learn"
    spec = load_model(model)[1]
    assert spec.detection_classes == ("square",)
    assert spec.segmentation_classes == ("cross", "ell")
    assert "no training set has boxes of cross, ell: never predicted as boxes" in notices
    assert "no training set has masks of square: never predicted as masks" in notices
    assert start.coverage.objects.tolist()[:2] == [0, 0]
    predict = predictor(model)
    for drawing in drawings:
        result = predict(ImageSource(drawing.image), min_score=0.0)
        assert set(result.labels.tolist()) <= {2}
        assert result.class_map is not None
        assert not (result.class_map == 3).any()


def test_a_run_without_masked_classes_keeps_its_spec(tmp_path: Path) -> None:
    model, notices, _ = run([synthetic_data.write_voc(tmp_path / "data", synthetic_data.draw(6))], tmp_path / "out")
    assert notices == []
    spec = load_model(model)[1]
    assert spec.detection_classes is spec.segmentation_classes is None


def test_the_tasks_of_the_options_need_annotations(tmp_path: Path) -> None:
    text = synthetic_data.write_folder(tmp_path / "data", synthetic_data.draw(4))
    with pytest.raises(UsageError, match="--tasks detection: expected training sets with boxes, got none"):
        run([text], tmp_path / "out", tasks=("detection",))


def test_nothing_is_trained_on_sets_without_objects(tmp_path: Path) -> None:
    text = synthetic_data.write_yolo(tmp_path / "data", synthetic_data.draw(4))
    for path in (tmp_path / "data" / "labels" / "train").iterdir():
        path.write_text("")
    with pytest.raises(UsageError, match="expected an object or a mask in one of the training sets, got none"):
        run([text], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_missing_images_are_refused_before_the_first_step_or_left_out(tmp_path: Path) -> None:
    text = synthetic_data.write_voc(tmp_path / "data", synthetic_data.draw(6))
    (tmp_path / "data" / "JPEGImages" / "toy_0001.png").unlink()
    with pytest.raises(DataError, match=r"expected 6 images, got 1 paths that do not exist, the first is .*toy_0001"):
        run([text], tmp_path / "out")
    _, _, start = run([f"{text},missing=skip"], tmp_path / "out")
    assert start.coverage.sets[0].num_images == 5


def test_masked_channels_stay_out_of_the_loss(tmp_path: Path) -> None:
    """The masked logits are constant, so no gradient reaches their weights."""
    drawings = synthetic_data.draw(6, seed=1)
    boxes = write_boxes(tmp_path / "boxes", drawings, 2)
    masks = synthetic_data.write_folder(tmp_path / "masks", drawings)
    model, _, _ = run([boxes, masks], tmp_path / "out", allow_leaks=True)
    net, spec = load_model(model)
    outputs = net.eval()(torch.zeros(1, 3, *spec.size))
    assert outputs.logits is not None
    assert np.unique(outputs.logits.detach().numpy()[..., 1:3]).tolist() == [-1000.0]


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # warnings of libraries for training
@pytest.mark.parametrize(
    ("parts", "boxed", "masked"),
    [
        (("masks",), set(), {"cross", "ell", "square"}),
        (("boxes",), {"square"}, set()),
        (("boxes", "masks,annotated=cross+ell"), {"square"}, {"cross", "ell"}),
    ],
    ids=["masks", "boxes", "mixture"],
)
def test_the_default_model_predicts_only_what_a_set_annotates(
    parts: Sequence[str], boxed: set[str], masked: set[str], tmp_path: Path
) -> None:
    drawings = synthetic_data.draw(24, seed=1)
    sets = {
        "boxes": write_boxes(tmp_path / "boxes", drawings, 2),
        "masks": synthetic_data.write_folder(tmp_path / "masks", drawings),
    }
    data = [sets[part.partition(",")[0]] + "".join(part.partition(",")[1:]) for part in parts]
    trained = blitznet.train(
        data,
        steps=60,
        batch=8,
        imgsz=128,
        workers=0,
        device="cpu",
        allow_leaks=True,
        out=str(tmp_path / "run"),
        notify=None,
    )
    predict = trained.load(min_score=0.0)
    scores, pixels = [], 0
    for drawing in [*drawings, *synthetic_data.draw(24, seed=2)]:
        result = predict(drawing.image)
        scores += [detection.score for detection in result if detection.class_name not in boxed]
        if result.class_map is not None:
            labels = [label for label, name in enumerate(result.class_names, 1) if name not in masked]
            pixels += int(np.isin(result.class_map, labels).sum())
    assert sum(score > 0.5 for score in scores) == 0
    assert pixels == 0

"""Scores and pictures while a run goes on: the same predictor and the same evaluation as the command's."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image as Pillow

from blitznet.core.spec import Spec
from blitznet.data.mapping import MappedDataset
from blitznet.metrics.evaluate import evaluate
from blitznet.nets.blitznet import BlitzNet
from blitznet.nets.engine import TorchEngine
from blitznet.nets.files import save_model
from blitznet.runtime.predictor import Predictor
from blitznet.view.draw import annotate
from blitznet.view.sheet import contact_sheet

PICTURES = 8


def validate(net: BlitzNet, spec: Spec, datasets: Sequence[MappedDataset], folder: Path, step: int) -> dict[str, float]:
    """Score the network on the sets, keep it as best.safetensors if it is, and draw some photos."""
    training = net.training
    predictor = Predictor(TorchEngine(net, spec))
    report = evaluate(predictor, datasets)
    _draw(predictor, datasets, folder / "pictures" / f"{step:07d}.jpg")
    net.train(training)
    scores = {
        "score/ap50": report.total.detection.ap50_area,
        "score/ap50_pooled": report.total.detection.ap50_pooled,
        "score/miou": report.total.segmentation.miou,
    }
    known = {name: value for name, value in scores.items() if value is not None}
    _keep_best(net, spec, folder, sum(known.values()))
    return known


def _keep_best(net: BlitzNet, spec: Spec, folder: Path, score: float) -> None:
    note = folder / "best.txt"
    if note.exists() and float(note.read_text()) >= score:
        return
    save_model(folder / "best.safetensors", net, spec)
    note.write_text(f"{score:.6f}\n")


def _draw(predictor: Predictor, datasets: Sequence[MappedDataset], to: Path) -> None:
    samples = [dataset[index] for dataset in datasets for index in range(min(len(dataset), PICTURES))][:PICTURES]
    tiles = [(sample.id, annotate(sample.photo.read(), predictor(sample.photo).above(0.4))) for sample in samples]
    to.parent.mkdir(exist_ok=True)
    Pillow.fromarray(contact_sheet(tiles, 4)).save(to, quality=88)

"""Scores and pictures while a run goes on: the same predictor and the same evaluation as the command's."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from PIL import Image as Pillow
from torch import nn

from blitznet.core.files import atomic_write
from blitznet.core.image import ImageSource
from blitznet.core.sample import Sample
from blitznet.core.spec import Spec
from blitznet.data.mapping import MappedDataset
from blitznet.drawing.annotate import annotate
from blitznet.drawing.contact_sheet import contact_sheet
from blitznet.metrics.evaluate import EvalConfig, evaluate
from blitznet.nets.model_files import save_model
from blitznet.nets.torch_engine import TorchEngine
from blitznet.runtime.predictor import Predictor
from blitznet.train.run_folder import RunFolder

PICTURES, COLUMNS = 8, 4
SIDE = 420
"""pixels, the longer side of a image in the pictures"""
SCORE = 0.4
"""detections drawn"""


def validate(
    net: nn.Module,
    spec: Spec,
    datasets: Sequence[MappedDataset],
    folder: RunFolder,
    step: int,
    *,
    between: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """Score the network on the sets, keep it as the best if it is, and draw some images; `between` runs after each.

    The network goes on afterwards in whatever mode each of its layers was.
    """
    predictor = Predictor(TorchEngine(net, spec))
    with modes_kept(net):
        total = evaluate(predictor, datasets, EvalConfig(tasks=spec.tasks), watch=lambda *_: between()).total
        _draw(predictor, datasets, folder, step)
    scores = {
        "score/ap50": total.detection.ap50_area,
        "score/ap50_pooled": total.detection.ap50_pooled,
        "score/miou": total.segmentation.miou,
    }
    known = {name: value for name, value in scores.items() if value is not None}
    _keep_best(net, spec, folder, sum(known.values()))
    return known


@contextmanager
def modes_kept(net: nn.Module) -> Iterator[None]:
    """Give every layer back the mode it had: training or evaluation, for frozen batch norms are in the latter."""
    modes = [(module, module.training) for module in net.modules()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _keep_best(net: nn.Module, spec: Spec, folder: RunFolder, score: float) -> None:
    note = folder.best_score
    if note.exists() and float(note.read_text()) >= score:
        return
    save_model(folder.best, net, spec)
    atomic_write(note, f"{score!r}\n".encode())


def _draw(predictor: Predictor, datasets: Sequence[MappedDataset], folder: RunFolder, step: int) -> None:
    tiles = []
    for sample in chosen(datasets):
        height, width = sample.image.size()
        scale = min(1.0, SIDE / max(height, width))
        image = sample.image.resize((max(1, round(height * scale)), max(1, round(width * scale))))
        tiles.append((sample.id, annotate(image, predictor(ImageSource(image), min_score=SCORE))))
    to = folder.picture(step)
    to.parent.mkdir(exist_ok=True)
    Pillow.fromarray(contact_sheet(tiles, COLUMNS)).save(to, quality=88)


def chosen(datasets: Sequence[MappedDataset]) -> list[Sample]:
    """The same images at every evaluation, from all over the sets."""
    share = -(-PICTURES // len(datasets))
    samples = [
        dataset[int(index)]
        for dataset in datasets
        for index in np.unique(np.linspace(0, len(dataset) - 1, min(share, len(dataset))).astype(int))
    ]
    return samples[:PICTURES]

"""RunEvaluation during a run, with the predictor and the metrics of `blitznet eval`."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from PIL import Image as Pillow
from torch import nn

from blitznet.core.files import atomic_path, translate_write_errors
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
from blitznet.train.callbacks import RunEvaluation
from blitznet.train.run_folder import RunFolder

_NUM_IMAGES, _COLUMNS = 8, 4
_MAX_SIZE = 420
"""maximum length of the longer side of an image on the contact sheet, pixels"""
_MIN_SCORE = 0.4
"""minimum score of the boxes on the contact sheet"""


def validate(
    net: nn.Module,
    spec: Spec,
    datasets: Sequence[MappedDataset],
    folder: RunFolder,
    step: int,
    *,
    after_image: Callable[[], None] = lambda: None,
) -> RunEvaluation:
    """Evaluate the network, save it if it is the best so far, and draw some predictions.

    Every layer keeps its training or evaluation mode.

    Args:
        net: The network.
        spec: Its spec.
        datasets: The evaluation sets.
        folder: Receives the best model and the contact sheet.
        step: The step of the network.
        after_image: Called after each image; may raise to interrupt.

    Returns:
        The scores, and whether the network is the best so far.
    """
    predictor = Predictor(TorchEngine(net, spec))
    with preserve_modes(net):
        total = evaluate(predictor, datasets, EvalConfig(tasks=spec.tasks), progress=lambda *_: after_image()).total
        _draw_predictions(predictor, datasets, folder, step)
    scores = {
        "score/ap50": total.detection.ap50_area,
        "score/ap50_frequent": total.detection.ap50_frequent,
        "score/miou": total.segmentation.miou,
    }
    available = {name: value for name, value in scores.items() if value is not None}
    is_best = _save_best(net, spec, folder, step, sum(available.values()))
    return RunEvaluation(step, available, total, is_best)


@contextmanager
def preserve_modes(net: nn.Module) -> Iterator[None]:
    """Restore the training or evaluation mode of every layer; frozen batch norms stay in evaluation mode."""
    modes = [(module, module.training) for module in net.modules()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def _save_best(net: nn.Module, spec: Spec, folder: RunFolder, step: int, score: float) -> bool:
    """Save the network if its score is the best so far; returns whether it is."""
    best = folder.read_best()
    if best is not None and best.score >= score:
        return False
    save_model(folder.best, net, spec)
    folder.write_best(score, step)
    return True


def _draw_predictions(predictor: Predictor, datasets: Sequence[MappedDataset], folder: RunFolder, step: int) -> None:
    tiles = []
    for sample in select_samples(datasets):
        height, width = sample.image.size()
        scale = min(1.0, _MAX_SIZE / max(height, width))
        image = sample.image.resize((max(1, round(height * scale)), max(1, round(width * scale))))
        tiles.append((sample.id, annotate(image, predictor(ImageSource(image), min_score=_MIN_SCORE))))
    path = folder.predictions(step)
    with atomic_path(path, durable=False) as temporary, translate_write_errors(path):
        Pillow.fromarray(contact_sheet(tiles, _COLUMNS)).save(temporary, quality=88)


def select_samples(datasets: Sequence[MappedDataset]) -> list[Sample]:
    """The samples to draw: the same at every evaluation, evenly spaced over the sets."""
    per_set = -(-_NUM_IMAGES // len(datasets))
    samples = [
        dataset[int(index)]
        for dataset in datasets
        for index in np.unique(np.linspace(0, len(dataset) - 1, min(per_set, len(dataset))).astype(int))
    ]
    return samples[:_NUM_IMAGES]

"""RunEvaluation during a run, with the predictor and the metrics of `blitznet eval`.

Several processes predict a part of the images each. The main process scores all of them: the scores are those of one
process.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy

import numpy as np
from PIL import Image as Pillow
from torch import nn

from blitznet.core.files import atomic_path, translate_write_errors
from blitznet.core.image import ImageSource
from blitznet.core.sample import Sample, Subset
from blitznet.core.spec import Spec
from blitznet.data.mapping import MappedDataset
from blitznet.drawing.annotate import annotate
from blitznet.drawing.contact_sheet import contact_sheet
from blitznet.metrics.evaluate import EvalConfig, accumulate, compute_report, evaluate
from blitznet.metrics.report import Report
from blitznet.metrics.state import concatenate
from blitznet.nets.model_files import save_model
from blitznet.nets.torch_engine import TorchEngine
from blitznet.runtime.predictor import Predictor
from blitznet.train.callbacks import RunEvaluation
from blitznet.train.distributed import ProcessGroup
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
    group: ProcessGroup | None = None,
    after_image: Callable[[], None] = lambda: None,
) -> RunEvaluation | None:
    """Evaluate the network, save it if it is the best so far, and draw some predictions.

    Every layer keeps its training or evaluation mode. Of several processes each calls this function, and the network
    of the main process is evaluated.

    Args:
        net: The network.
        spec: Its spec.
        datasets: The evaluation sets.
        folder: Receives the best model and the contact sheet.
        step: The step of the network.
        group: The processes of the run; one by default.
        after_image: Called after each image; may raise to interrupt, in all processes after the same image only.

    Returns:
        The scores, and whether the network is the best so far; None in all processes but the main one.
    """
    predictor, config = Predictor(TorchEngine(net, spec)), EvalConfig(tasks=spec.tasks)
    with preserve_modes(net):
        if group is None or group.world_size == 1:
            report: Report | None = evaluate(predictor, datasets, config, progress=lambda *_: after_image())
        else:
            report = evaluate_in_parts(net, spec, datasets, config, group, after_image=after_image)
        if report is None:
            return None
        total = report.total
        _draw_predictions(predictor, datasets, folder, step)
    scores = {
        "score/ap50": total.detection.ap50_area,
        "score/ap50_frequent": total.detection.ap50_frequent,
        "score/miou": total.segmentation.miou,
    }
    available = {name: value for name, value in scores.items() if value is not None}
    is_best = _save_best(net, spec, folder, step, sum(available.values()))
    return RunEvaluation(step, available, total, is_best)


def evaluate_in_parts(
    net: nn.Module,
    spec: Spec,
    datasets: Sequence[MappedDataset],
    config: EvalConfig,
    group: ProcessGroup,
    *,
    after_image: Callable[[], None] = lambda: None,
) -> Report | None:
    """Evaluate with all processes of a run: each has consecutive images of every set.

    Args:
        net: The network; that of the main process counts, whose batch norms have other statistics.
        spec: Its spec.
        datasets: The evaluation sets.
        config: How predictions are scored.
        group: The processes.
        after_image: Called after each image of this process.

    Returns:
        The report of one process on all images, in the main process; None in the others.
    """
    if not group.is_main_process:
        net = deepcopy(net)  # this process trains on with its own statistics
    group.broadcast(net.buffers())
    predictor = Predictor(TorchEngine(net, spec))
    parts = [
        Subset(dataset, tuple(range(*(len(dataset) * k // group.world_size for k in (group.rank, group.rank + 1)))))
        for dataset in datasets
    ]
    states = accumulate(
        lambda _, sample: predictor.all_detections(sample.image), parts, config, progress=lambda *_: after_image()
    )
    gathered = group.gather(states)
    if gathered is None:
        return None
    whole = [concatenate(of_set) for of_set in zip(*gathered, strict=True)]
    return compute_report([dataset.title for dataset in datasets], whole, config)


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

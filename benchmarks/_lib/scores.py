"""Scores of trained models: kept in files, so that a benchmark of many runs resumes, and averaged over seeds."""

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from blitznet.core.files import atomic_write
from blitznet.metrics.report import SetScores


@dataclass(frozen=True)
class Scores:
    """Scores of one model, fractions; None for a task that it does not have."""

    ap50: float | None
    miou: float | None


S = TypeVar("S", bound=Any)
"""a dataclass whose fields are fractions or None"""


def frequent_ap50(scores: SetScores) -> float | None:
    """AP50 of the classes with at least 20 objects; of all classes if none has as many."""
    frequent = scores.detection.ap50_frequent
    return scores.detection.ap50_area if frequent is None else frequent


def cached_scores(file: Path, kind: type[S], compute: Callable[[], S]) -> S:
    """The scores in a file, or computed and written to it."""
    if file.is_file():
        stored: S = kind(**json.loads(file.read_text()))
        return stored
    scores = compute()
    atomic_write(file, json.dumps(asdict(scores)).encode())
    return scores


def mean_scores(scores: Sequence[S]) -> S:
    """The mean of each score; None where a model lacks it."""
    kind: type[S] = type(scores[0])
    columns = {field.name: [getattr(item, field.name) for item in scores] for field in fields(kind)}
    means: S = kind(**{name: None if None in values else statistics.fmean(values) for name, values in columns.items()})
    return means

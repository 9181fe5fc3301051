"""Flags of the inference engine, and how commands report it."""

from typing import TYPE_CHECKING, Annotated

from blitznet.cli.flags import metavar
from blitznet.runtime.engine import EngineName

if TYPE_CHECKING:
    from blitznet.runtime.predictor import BasePredictor

EngineFlag = Annotated[EngineName, metavar("ENGINE")]
ThreadsFlag = Annotated[int | None, metavar("N")]


def engine_summary(predictor: "BasePredictor", threads: int | None) -> str:
    """The engine in one line: `engine: openvino, bfloat16, 2 threads`."""
    from blitznet.runtime.threads import resolve_threads

    count = resolve_threads(threads)
    return f"engine: {predictor.engine.name}, {predictor.spec.precision}, {count} thread{'s' * (count > 1)}"

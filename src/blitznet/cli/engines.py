"""The engine that a command computes with: how the help tells of it, and what the last line says."""

from typing import TYPE_CHECKING, Annotated

from blitznet.cli.flags import metavar
from blitznet.runtime.engine import EngineName

if TYPE_CHECKING:
    from blitznet.runtime.predictor import BasePredictor

EngineFlag = Annotated[EngineName, metavar("ENGINE")]
ThreadsFlag = Annotated[int | None, metavar("INT")]


def ran(predictor: "BasePredictor", threads: int | None) -> str:
    """`engine: openvino, bfloat16, 2 threads`."""
    from blitznet.runtime.threads import resolve_threads

    count = resolve_threads(threads)
    return f"engine: {predictor.engine.name}, {predictor.spec.precision}, {count} thread{'s' * (count > 1)}"

"""Flags of the inference engine, and how commands report it."""

from typing import TYPE_CHECKING, Annotated

import tyro

from blitznet.runtime.engine import EngineName

if TYPE_CHECKING:
    from blitznet.runtime.predictor import BasePredictor

_ENGINE_HELP = (
    "Inference engine: auto, onnxruntime, openvino, torch, torch-compiled, onnxruntime-cuda or onnxruntime-tensorrt. "
    "Default: auto, the fastest that is installed."
)
_THREADS_HELP = "Threads of the engine. Default: one for each processor."

EngineFlag = Annotated[EngineName, tyro.conf.arg(metavar="ENGINE", help=_ENGINE_HELP, help_behavior_hint="")]
_TRUST_HELP = (
    "Open a .pt2 model although it may contain code of its author, which runs with your rights. Default: refuse it."
)
TrustFlag = Annotated[tyro.conf.FlagCreatePairsOff[bool], tyro.conf.arg(help=_TRUST_HELP, help_behavior_hint="")]
ThreadsFlag = Annotated[int | None, tyro.conf.arg(metavar="N", help=_THREADS_HELP, help_behavior_hint="")]


def engine_summary(predictor: "BasePredictor", threads: int | None) -> str:
    """The engine in one line: `engine: openvino, bfloat16, 2 threads`."""
    from blitznet.runtime.threads import resolve_threads

    count = resolve_threads(threads)
    return f"engine: {predictor.engine.name}, {predictor.spec.precision}, {count} thread{'s' * (count > 1)}"

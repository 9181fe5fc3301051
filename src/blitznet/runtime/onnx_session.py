"""Session options of onnxruntime."""

from pathlib import Path
from typing import Any

_LOG_FATAL = 4
"""onnxruntime's severity level of errors that end the process; others are raised too, so a log would repeat them"""


def session_options(threads: int, *, basic_optimization: bool = False, save_optimized: Path | None = None) -> Any:
    """`onnxruntime.SessionOptions` without logs of errors, which are raised.

    Args:
        threads: Threads of one operator. Always a number: with 0 onnxruntime pins its threads to processors, which
            fails where processors are limited.
        basic_optimization: Only optimize within standard ONNX operators.
        save_optimized: File for the optimized graph. Default: it is not written.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _LOG_FATAL
    if basic_optimization:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    if save_optimized is not None:
        options.optimized_model_filepath = str(save_optimized)
    return options

"""Constant folding of an ONNX graph."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from blitznet.core.errors import UsageError

if TYPE_CHECKING:
    from onnx import ModelProto

LOG_ERRORS_ONLY = 3
"""severity level of onnxruntime's logs"""


def fold_constants(source: Path) -> "ModelProto":
    """Fold an ONNX file's constants.

    float16 kernels become float32, and batch norms and padding become part of the convolutions. onnxruntime folds, as
    it does when it opens a file, and only into standard operators.

    Args:
        source: The file.

    Returns:
        The graph, with the inferred type of every tensor.

    Raises:
        UsageError: The temporary file cannot be written.
    """
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = LOG_ERRORS_ONLY
    options.intra_op_num_threads = 1  # a number, not 0: with 0 onnxruntime pins its threads
    with TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder, "folded.onnx"))
        try:
            onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's exceptions have no common base
            raise UsageError(
                f"onnxruntime cannot write its temporary file into {folder} ({error}); free space there, or set TMPDIR"
            ) from error
        model = onnx.load(options.optimized_model_filepath)
    used = {node.domain for node in model.graph.node}
    opsets = [opset for opset in model.opset_import if opset.domain in used]  # onnxruntime lists all that it knows
    del model.opset_import[:]
    model.opset_import.extend(opsets)
    return onnx.shape_inference.infer_shapes(model)

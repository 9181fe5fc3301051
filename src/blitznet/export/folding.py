"""A graph with everything computed that does not depend on the image."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import ModelProto

_ERRORS_ONLY = 3


def folded(source: Path) -> "ModelProto":
    """The graph of a file, float16 kernels made float32, batch norms and padding put into the convolutions.

    Every tensor's type is noted in it.
    onnxruntime does the folding, as it does whenever it opens a file, and in standard operations only.
    """
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = _ERRORS_ONLY
    options.intra_op_num_threads = 1  # a number, not 0: with 0 onnxruntime pins threads, and nothing is computed here
    with TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder, "folded.onnx"))
        onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        model = onnx.load(options.optimized_model_filepath)
    used = {node.domain for node in model.graph.node}
    sets = [one for one in model.opset_import if one.domain in used]  # it names all that onnxruntime knows
    del model.opset_import[:]
    model.opset_import.extend(sets)
    return onnx.shape_inference.infer_shapes(model)

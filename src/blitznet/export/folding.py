"""A graph with everything computed that does not depend on the image."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from blitznet.runtime.onnx_session import session_options

if TYPE_CHECKING:
    from onnx import ModelProto


def folded(source: Path) -> "ModelProto":
    """The graph of a file, float16 kernels made float32, batch norms and padding put into the convolutions.

    Every tensor's type is noted in it.
    onnxruntime does the folding, as it does whenever it opens a file, and in standard operations only.
    """
    import onnx
    import onnxruntime

    with TemporaryDirectory() as folder:
        optimized = Path(folder, "folded.onnx")
        options = session_options(1, basic_optimization=True, save_optimized=optimized)
        onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        model = onnx.load(optimized)
    used = {node.domain for node in model.graph.node}
    sets = [one for one in model.opset_import if one.domain in used]  # it names all that onnxruntime knows
    del model.opset_import[:]
    model.opset_import.extend(sets)
    return onnx.shape_inference.infer_shapes(model)

"""Files for other runtimes (ONNX, OpenVINO, torch.export, ncnn, Core ML), their quantization, and their verification.

May import: runtime, nets, metrics, bench, postprocess, core; onnx, onnxscript, openvino, pnnx, ncnn, coremltools.
Never imports: train, serve, cli.

`blitznet.export(...)` calls `blitznet.workflows.export_file`.
"""

from blitznet.core.callable_module import make_callable

make_callable(__name__, "export_file")

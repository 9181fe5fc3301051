"""Files for other runtimes (ONNX, OpenVINO, torch.export), their quantization, and their verification.

May import: runtime, nets, metrics, bench, postprocess, core; onnx, onnxscript, openvino.
Never imports: train, serve, cli.
"""

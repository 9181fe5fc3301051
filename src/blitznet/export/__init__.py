"""Networks written for other runtimes, and the proof that they answer the same there.

May import: core, runtime, nets, torch, onnx, openvino. Images to verify and calibrate on come as an argument.
Never comes in: training, data sets, finishing of its own.
"""

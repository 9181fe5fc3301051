"""From a image to a Result: prepare, run an engine, finish.

May import: core, numpy; onnxruntime in onnx.py and openvino in openvino.py alone, when a file is opened.
Never comes in: torch, drawing, argument parsing, printing.
"""

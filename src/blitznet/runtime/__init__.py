"""Inference, from an image to a `Result`: preprocess, run an engine, postprocess.

May import: core, drawing, postprocess, numpy, Pillow; onnxruntime in onnx_*.py and openvino in openvino_engine.py.
Never imports: torch, argument parsing, printing.
"""

"""From a photo to a Result: prepare, run an engine, finish.

May import: core, numpy; onnxruntime in onnx.py alone, when a session is opened.
Never comes in: torch, drawing, argument parsing, printing.
"""

"""Network outputs (numpy) to a `Result`: decode, NMS, upsampling, confidence, instances.

May import: core, drawing, numpy; onnxruntime in nms.py.
Never imports: torch, engines, argument parsing.
"""

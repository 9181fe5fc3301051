"""Post-processing in numpy, from network outputs to a `Result`: decoding, NMS, upsampling, confidence, instances.

May import: core, drawing, numpy, Pillow; onnxruntime in nms.py.
Never imports: torch, engines, argument parsing.
"""

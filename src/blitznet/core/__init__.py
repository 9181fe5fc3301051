"""Values and geometry that every package uses.

May import: numpy, and Pillow in image.py.
Never imports: another package of blitznet, torch, onnxruntime, argument parsing, printing.
"""

"""Values and geometry: what every room shares.

May import: numpy, Pillow (image.py only). Imports no other room of the house.
Never comes in: torch, onnxruntime, argument parsing, printing.
"""

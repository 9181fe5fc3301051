"""Drawing on images: annotated images, contact sheets, ground truth and prediction side by side.

May import: core, numpy, Pillow.
Never imports: postprocess, torch, the network, dataset readers; it writes no files, and opens fonts only.
"""

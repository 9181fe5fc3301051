"""Training: configs, recipes, data loading, matching of objects to anchors, losses, training loop.

May import: core, postprocess, drawing, data, metrics, runtime, nets, torch, matplotlib.
Never imports: argument parsing, export, other packages of the same layer.
"""

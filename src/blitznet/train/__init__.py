"""Training: configs, recipes, data loading, matching, losses, the loop.

May import: core, postprocess, drawing, data, metrics, runtime, nets, torch, matplotlib.
Never imports: argument parsing, export, other packages of the same layer.
"""

"""Training: configs, recipes, data loading, matching of objects to anchors, losses, training loop.

May import: core, postprocess, drawing, data, metrics, runtime, nets, torch, matplotlib.
Never imports: argument parsing, export, other packages of the same layer.

`blitznet.train(...)` calls `blitznet.workflows.train_model`.
"""

from blitznet.core.callable_module import make_callable

make_callable(__name__, "train_model")

"""From (Result, Sample) pairs to numbers: average precision, mean IoU, intervals, reports.

May import: core, numpy, Pillow; faster-coco-eval and rich inside the functions that need them.
Never comes in: torch, readers, predictors (they are arguments), argument parsing.
"""

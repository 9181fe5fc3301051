"""Evaluation metrics: average precision, mean IoU, error analysis, calibration and bootstrap intervals.

May import: core, postprocess, numpy, Pillow; faster-coco-eval inside the function that uses it.
Never imports: torch, dataset readers, predictors (they are arguments), rich, argument parsing.
"""

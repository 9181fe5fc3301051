"""Calibration of box scores and pixel confidence: expected calibration error, Platt and temperature scaling.

May import: core, postprocess, metrics.
Never imports: torch, predictors (they are arguments), argument parsing.
"""

"""Calibration of box scores and pixel probabilities: expected calibration error, Platt and temperature scaling.

May import: core, metrics, postprocess.
Never imports: torch, argument parsing.
"""

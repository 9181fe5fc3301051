"""Datasets: readers of the formats of labeling tools, writers, detection of formats, class mapping, augmentation and checks.

May import: core, numpy, Pillow; defusedxml, pyyaml, faster-coco-eval, scipy, pyarrow only inside the reader that needs them.
Never imports: torch, metrics; never prints.
"""

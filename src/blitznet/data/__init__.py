"""Datasets: readers, writers, detection of formats, class mapping, augmentation and checks.

May import: core, numpy, Pillow; defusedxml, pyyaml, faster-coco-eval, scipy, pyarrow only in the reader that needs it.
Never imports: torch, metrics; never prints.
"""

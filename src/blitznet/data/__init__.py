"""Datasets: readers and writers of five formats, class mapping, augmentation and checks.

May import: core, numpy, Pillow; defusedxml, pyyaml, faster-coco-eval, scipy only inside the reader that needs them.
Never imports: torch, metrics; never prints.
"""

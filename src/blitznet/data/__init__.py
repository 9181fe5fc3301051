"""Files on disk to Samples and Examples: readers, class mapping, augmentation, checks.

May import: core, numpy, Pillow; defusedxml, pyyaml, faster-coco-eval, scipy only inside the reader that needs them.
Never comes in: torch, metrics, printing.
"""

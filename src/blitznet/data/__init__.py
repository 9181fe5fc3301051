"""Files on disk to samples and training samples: readers, writers, class mapping, augmentation, checks.

May import: core, numpy, Pillow; defusedxml, pyyaml, faster-coco-eval, scipy only inside the reader that needs them.
Never imports: torch, metrics; never prints.
"""

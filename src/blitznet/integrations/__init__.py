"""Conversion of results for other libraries and annotation tools: one file for each, named after it.

May import: core, postprocess, and in each file the library that it is named after.
Never imports: runtime, train; torch only in `torchvision.py`. It does not print.
"""

"""Samples to files: one module a format, each the counterpart of the reader of the same name.

May import: core, the rest of data; pyyaml only where data.yaml is written. Never comes in: torch, metrics, printing.
"""

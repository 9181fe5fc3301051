"""Samples to files: one module per format, each the counterpart of the reader of the same name.

May import: core, the rest of data; pyyaml only inside the writer of data.yaml.
Never imports: torch, metrics; never prints.
"""

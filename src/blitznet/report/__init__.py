"""HTML pages, Markdown tables and model cards.

May import: core, postprocess, drawing, metrics.
Never imports: torch, argument parsing.
"""

"""Presentation of results: HTML pages, tables, charts, Markdown and model cards.

May import: core, drawing, postprocess, metrics, rich inside the functions that use it.
Never imports: torch, cli, argument parsing.
"""

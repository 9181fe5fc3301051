"""Pipelines: all steps from datasets to a released model, declared as values and run with one command.

May import: core, postprocess, drawing, data, metrics, runtime, nets, bench, train, export, report, api.
Never imports: argument parsing, serve, paper.
"""

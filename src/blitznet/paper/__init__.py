"""The paper's tables: recipes, runs, scores, comparison with the published numbers.

May import: core, postprocess, drawing, data, metrics, runtime, nets, train, export, report, api.
Never imports: argument parsing, serve, pipelines.
"""

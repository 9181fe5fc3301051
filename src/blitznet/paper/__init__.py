"""The paper's tables: recipes, runs, scores, comparison with the published numbers.

May import: core, data, metrics, train.
Never imports: argument parsing.
"""

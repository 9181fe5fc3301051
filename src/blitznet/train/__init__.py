"""Training: recipes, the stream of batches, matching, losses, the loop.

May import: core, data, metrics, runtime, nets, view, torch. Never comes in: argument parsing, printing outside log.py.
"""

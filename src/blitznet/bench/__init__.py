"""Measure the speed of a model on this machine: latency by stage, throughput, memory.

May import: core, postprocess, runtime.
Never imports: torch, argument parsing.
"""

"""Benchmarks of a model on this machine: latency by stage, throughput, memory.

May import: core, postprocess, runtime.
Never imports: api (`load` is an argument), torch, argument parsing, printing.
"""

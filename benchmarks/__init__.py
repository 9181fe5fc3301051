"""Benchmarks: speed, competitors, learning and training; README.md lists the commands."""

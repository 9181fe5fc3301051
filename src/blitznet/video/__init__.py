"""Moving pictures: frames out of files, cameras and streams, and into files, with their times and their sound.

May import: core, numpy, PyAV (extra `video`).
Never comes in: the network, drawing, printing.
"""

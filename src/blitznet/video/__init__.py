"""Video: frames from files, image sequences, cameras and streams, and files written from frames, with audio.

May import: core, numpy, PyAV (extra `video`).
Never imports: torch, drawing, runtime. It does not print.
"""

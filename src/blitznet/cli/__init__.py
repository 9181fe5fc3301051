"""The command line: one thin file for each command, and main.py that knows them all.

May import: every room, the heavy ones inside the functions that need them.
Never comes in: anything that a Python caller might want too.
"""

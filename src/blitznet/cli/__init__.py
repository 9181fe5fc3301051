"""The command line: one thin file for each command, and main.py that knows them all.

May import: every package; torch, rich and other heavy ones only inside the functions that need them.
Never imports: torch at the top of a module. It defines nothing that a Python caller might need.
"""

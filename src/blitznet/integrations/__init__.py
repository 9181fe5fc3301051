"""To other people's tools and back: one file for each library or format, which alone knows it.

May import: core, and in each file the library it is named after.
Never comes in: torch, the network, printing.
"""

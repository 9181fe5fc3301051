"""Pictures and pages for people: results and truth drawn on photos, contact sheets, pages of HTML.

May import: core, numpy, Pillow.
Never comes in: torch, the network, readers, files being opened or written.
"""

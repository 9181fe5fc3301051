"""Pictures and pages for people: results and truth drawn on images, contact sheets, pages of HTML.

May import: core, numpy, Pillow.
Never comes in: torch, the network, readers, files being opened or written.
"""

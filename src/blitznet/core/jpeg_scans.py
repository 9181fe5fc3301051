"""Count the scans of a JPEG. A progressive one may have any number, and each is decoded over all pixels.

A scan of a few bytes takes as long as a large one: a file of 150 kB can take a minute to decode.
"""

MAX_SCANS = 100
"""scans of a file that is decoded; encoders write about ten"""
_MAX_MARKERS = 10_000
"""segments of a file that is decoded"""
_START, _END, _SCAN = 0xD8, 0xD9, 0xDA
_NO_MARKERS = frozenset((0x00, *range(0xD0, 0xD8), 0xFF))
"""bytes after 0xFF inside of a scan: data, restarts and fill bytes"""


def has_too_many_scans(content: bytes) -> bool:
    """Whether a JPEG has more scans or segments than any encoder writes; what follows its end is not counted."""
    scans = markers = position = 0
    while scans <= MAX_SCANS and markers <= _MAX_MARKERS:
        position = content.find(b"\xff", position) + 1
        if position == 0 or position >= len(content):
            return False
        marker = content[position]
        if marker in _NO_MARKERS:
            continue
        if marker == _END:
            return False
        position += 1 if marker == _START else 1 + int.from_bytes(content[position + 1 : position + 3], "big")
        markers += 1
        scans += marker == _SCAN
    return True

"""ICC profiles of RGB and gray spaces, written by hand."""

import struct

ADOBE_RGB = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
"""X Y Z of red, green and blue, adapted to D50"""
SRGB = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))
ADOBE_GAMMA = 563 / 256
_WHITE = (0.9642, 1.0, 0.8249)


def _number(value: float) -> bytes:
    return struct.pack(">i", round(value * 65536))


def _xyz(values: tuple[float, float, float]) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(map(_number, values))


def _curve(gamma: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"


def _text(kind: bytes, text: bytes) -> bytes:
    if kind == b"text":
        return kind + bytes(4) + text + b"\0"
    return kind + bytes(4) + struct.pack(">I", len(text) + 1) + text + b"\0" + bytes(78)


def _profile(color_space: bytes, tags: dict[bytes, bytes]) -> bytes:
    padded = {name: data + bytes(-len(data) % 4) for name, data in tags.items()}
    offset = 128 + 4 + 12 * len(tags)
    table, content = struct.pack(">I", len(tags)), b""
    for name, data in padded.items():
        table += name + struct.pack(">II", offset + len(content), len(tags[name]))
        content += data
    header = struct.pack(">I", offset + len(content)) + b"\0\0\0\0" + b"\x02\x40\0\0" + b"mntr" + color_space + b"XYZ "
    header += struct.pack(">6H", 2026, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + b"".join(map(_number, _WHITE))
    return header + bytes(128 - len(header)) + table + content


def rgb_profile(primaries: tuple[tuple[float, float, float], ...] = ADOBE_RGB, gamma: float = ADOBE_GAMMA) -> bytes:
    """A profile of three primaries and a gamma; by default Adobe RGB (1998)."""
    colors = {name: _xyz(values) for name, values in zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries, strict=True)}
    curves = dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), _curve(gamma))
    texts = {b"desc": _text(b"desc", b"test"), b"cprt": _text(b"text", b"none")}
    return _profile(b"RGB ", {**texts, b"wtpt": _xyz(_WHITE), **colors, **curves})


def gray_profile(gamma: float) -> bytes:
    """A profile of gray values with a gamma."""
    texts = {b"desc": _text(b"desc", b"test"), b"cprt": _text(b"text", b"none")}
    return _profile(b"GRAY", {**texts, b"wtpt": _xyz(_WHITE), b"kTRC": _curve(gamma)})

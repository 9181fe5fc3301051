"""Parse the JSON, XML and CSV files of annotation tools, within limits; every error names the file."""

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blitznet.core.errors import DataError, MissingExtra, shown
from blitznet.core.image import MAX_PIXELS
from blitznet.core.memory import GB, available_memory
from blitznet.data.dataset import MAX_COORDINATE, read_bytes, read_text
from blitznet.data.masks import BoxTuple

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

MAX_JSON = 4 << 30
MAX_XML = 1 << 30
MAX_CSV = 1 << 30
"""bytes of a file, at most"""
_JSON_BYTES, _XML_BYTES = {b"[": 56, b"{": 64, b",": 8}, {b"<": 50}
"""bytes of memory that a parsed file needs at least for each such character"""
_MIN_ESTIMATED = 64 << 20
"""bytes of a file below which its memory is not estimated"""
_FLAGS = dict.fromkeys(("1", "1.0", "true"), True) | dict.fromkeys(("0", "0.0", "false", "none", ""), False)
_MAX_NAME = 200
"""characters of a class name"""
_TEXT_ENCODINGS = re.compile(
    r"(utf|iso|latin|cp|windows|mac|koi8|gb|big5|euc|shift|ascii|us.ascii|tis|hz|johab)[\w-]*", re.IGNORECASE
)
"""encodings of XML files; some other codecs of Python are no encodings, or take quadratic time"""
_XML_ENCODING = re.compile(rb"\s*<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([A-Za-z0-9._-]+)")
_XML_DECLARATION = re.compile(r"\s*<\?xml[^>]*\?>")


def read_json(path: Path, *, limit: int = MAX_JSON) -> Any:
    """Parse a JSON file.

    Raises:
        DataError: The file is missing, too large, not JSON, or nested too deeply.
    """
    try:
        return json.loads(_read_file(path, limit, _JSON_BYTES))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: expected a JSON file ({error})") from error


def _read_file(path: Path, limit: int, memory: Mapping[bytes, int]) -> bytes:
    """The content of a file whose parsed values fit into memory."""
    content = read_bytes(path, limit=limit)
    if len(content) > _MIN_ESTIMATED:
        needed = sum(size * content.count(character) for character, size in memory.items())
        available = available_memory()
        if available is not None and needed > available:
            raise DataError(
                f"{path}: expected a file whose values fit into {available / GB:.1f} GB of free memory, got one of "
                f"{needed / GB:.1f} GB; split it"
            )
    return content


def read_xml(path: Path, *, limit: int = MAX_XML) -> "Element":
    """Parse an XML file in the encoding that it declares; entities and DTDs are refused.

    Raises:
        DataError: The file is missing, too large, not well-formed, or contains entities or a DTD.
    """
    try:
        from defusedxml.common import DefusedXmlException
        from defusedxml.ElementTree import ParseError, fromstring
    except ImportError as error:
        raise MissingExtra("reading XML annotations", "data") from error
    try:
        root: Element = fromstring(_decode_xml(_read_file(path, limit, _XML_BYTES)), forbid_dtd=True)
    except ParseError as error:
        raise DataError(f"{path}: not well-formed XML ({error}); fix or remove it") from error
    except DefusedXmlException as error:
        raise DataError(f"{path}: entities and DTDs are refused in annotations; remove them") from error
    except (ValueError, LookupError) as error:
        raise DataError(f"{path}: not well-formed XML ({error}); save it as UTF-8") from error
    return root


def _decode_xml(content: bytes) -> bytes | str:
    """The content, decoded if it declares an encoding that the parser lacks."""
    match = _XML_ENCODING.match(content)
    if match is None or match[1].lower() in (b"utf-8", b"utf8", b"utf-16", b"us-ascii"):
        return content
    encoding = match[1].decode("ascii")
    if not _TEXT_ENCODINGS.fullmatch(encoding):
        raise LookupError(f"unknown encoding {encoding[:_MAX_NAME]}")
    return _XML_DECLARATION.sub("", content.decode(encoding), count=1)


def read_csv(path: Path) -> Iterator[dict[str, str]]:
    """Rows of a CSV file as a dict of the first line's names; spaces around names and values are removed.

    Raises:
        DataError: The file is missing, too large, not UTF-8, or a row has more values than the first line.
    """
    lines = csv.reader(io.StringIO(read_text(path, limit=MAX_CSV)), skipinitialspace=True)
    try:
        names = [name.strip() for name in next(lines, [])]
        for number, values in enumerate(lines, 2):
            if len(values) > len(names):
                raise DataError(f"{path}:{number}: expected {len(names)} values, got {len(values)}")
            if values:
                yield dict(zip(names, (value.strip() for value in values), strict=False))
    except csv.Error as error:
        raise DataError(f"{path}: expected a CSV file ({error})") from error


def require_list(value: object, where: str, name: str) -> list[Any]:
    """The value if it is a list.

    Raises:
        DataError: It is not; the message is `WHERE: expected a list NAME`.
    """
    if not isinstance(value, list):
        raise DataError(f"{where}: expected a list '{name}', got a {type(value).__name__}")
    return value


def require_dict(value: object, where: str, name: str) -> dict[str, Any]:
    """The value if it is a dict with text keys, as JSON objects are.

    Raises:
        DataError: It is not; the message is `WHERE: expected an object NAME`.
    """
    if not isinstance(value, dict):
        raise DataError(f"{where}: expected an object '{name}', got a {type(value).__name__}")
    return value


def require_name(value: object, where: str) -> str:
    """A class name without spaces around it: a text, or a number.

    Raises:
        DataError: It is neither, empty, too long, or has characters that cannot be printed.
    """
    name = str(value).strip() if isinstance(value, (str, float)) or type(value) is int else ""
    if not name or len(name) > _MAX_NAME or not name.isprintable():
        raise DataError(f"{where}: expected a name of 1 to {_MAX_NAME} printable characters, got {shown(value)}")
    return name


def require_flag(value: object, where: str, name: str) -> bool:
    """A flag: true or 1, false, 0 or nothing; also as text, as tables have it.

    Raises:
        DataError: It is none of these.
    """
    text = shown(value).strip().lower()
    if text not in _FLAGS:
        raise DataError(f"{where}: expected 0 or 1 for {name}, got {shown(value)}")
    return _FLAGS[text]


def text_or_none(value: object) -> str | None:
    """A text of a file; None for a value of another type, which could be unhashable or of any size."""
    return value if isinstance(value, str) else None


def require_size(height: object, width: object, where: str) -> tuple[int, int]:
    """(H, W) as positive whole numbers.

    Raises:
        DataError: One of them is not.
    """
    try:
        size = int(float(shown(height))), int(float(shown(width)))
    except (ValueError, OverflowError):
        size = (0, 0)
    if min(size) < 1:
        raise DataError(
            f"{where}: expected width and height as positive integers, got {shown(width)} and {shown(height)}"
        )
    if size[0] * size[1] > MAX_PIXELS:
        raise DataError(f"{where}: expected at most {MAX_PIXELS:,} pixels, got {shown(width)}x{shown(height)}")
    return size


def require_numbers(values: object, where: str, name: str) -> list[float]:
    """A flat list of finite coordinates.

    Raises:
        DataError: A value is no number, or too large for a coordinate.
    """
    try:
        numbers = [float(value) for value in _items(values)]
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{where}: expected numbers for {name}, got {shown(values)}") from error
    if not all(abs(number) < MAX_COORDINATE for number in numbers):  # also refuses NaN
        raise DataError(f"{where}: expected pixel coordinates for {name}, got {shown(values)}")
    return numbers


def _items(values: object) -> Sequence[Any]:
    """The items of a list; those of a text or a mapping are no numbers."""
    if not isinstance(values, (list, tuple)):
        raise TypeError
    return values


def require_polygon(points: object, where: str) -> list[float]:
    """Coordinates x y x y ... of a list of points [x, y]; at least three.

    Raises:
        DataError: It is no such list.
    """
    pairs = require_list(points, where, "points")
    if not all(isinstance(pair, (list, tuple)) and len(pair) >= 2 for pair in pairs) or len(pairs) < 3:
        raise DataError(f"{where}: expected three points x y or more, got {shown(points)}")
    return require_numbers([value for pair in pairs for value in pair[:2]], where, "points")


def polygon_box(polygon: list[float]) -> BoxTuple:
    """x1 y1 x2 y2 around a polygon x y x y ..."""
    return min(polygon[::2]), min(polygon[1::2]), max(polygon[::2]), max(polygon[1::2])

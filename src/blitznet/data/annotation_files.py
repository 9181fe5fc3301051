"""Parse the JSON, XML and CSV files of annotation tools, within limits; every error names the file."""

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blitznet.core.errors import DataError, MissingExtra
from blitznet.data.dataset import MAX_COORDINATE, read_text
from blitznet.data.masks import BoxTuple

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

MAX_JSON = 4 << 30
MAX_XML = 1 << 30
MAX_CSV = 1 << 30
_XML_ENCODING = re.compile(rb"\s*<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([A-Za-z0-9._-]+)")
_XML_DECLARATION = re.compile(r"\s*<\?xml[^>]*\?>")


def read_json(path: Path, *, limit: int = MAX_JSON) -> Any:
    """Parse a JSON file.

    Raises:
        DataError: The file is missing, too large, not JSON, or nested too deeply.
    """
    try:
        if path.stat().st_size > limit:
            raise DataError(f"{path}: expected at most {limit:,} bytes, got a larger file; is it the right one?")
        return json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise DataError(f"{path}: expected a file, got a path that does not exist") from error
    except (ValueError, RecursionError, OSError) as error:
        raise DataError(f"{path}: expected a JSON file ({error})") from error


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
        if path.stat().st_size > limit:
            raise DataError(f"{path}: expected at most {limit:,} bytes, got a larger file; is it the right one?")
        root: Element = fromstring(_decode_xml(path.read_bytes()), forbid_dtd=True)
    except FileNotFoundError as error:
        raise DataError(f"{path}: expected a file, got a path that does not exist") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
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
    return _XML_DECLARATION.sub("", content.decode(match[1].decode("ascii")), count=1)


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


def require_size(height: object, width: object, where: str) -> tuple[int, int]:
    """(H, W) as positive whole numbers.

    Raises:
        DataError: One of them is not.
    """
    try:
        size = int(float(str(height))), int(float(str(width)))
    except (ValueError, OverflowError):
        size = (0, 0)
    if min(size) < 1:
        raise DataError(f"{where}: expected width and height as positive integers, got {width} and {height}")
    return size


def require_numbers(values: object, where: str, name: str) -> list[float]:
    """A flat list of finite coordinates.

    Raises:
        DataError: A value is no number, or too large for a coordinate.
    """
    try:
        numbers = [float(value) for value in values]  # type: ignore[attr-defined]  # TypeError is caught
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{where}: expected numbers for {name}, got {str(values)[:60]}") from error
    if not all(abs(number) < MAX_COORDINATE for number in numbers):  # also refuses NaN
        raise DataError(f"{where}: expected pixel coordinates for {name}, got {str(values)[:60]}")
    return numbers


def require_polygon(points: object, where: str) -> list[float]:
    """Coordinates x y x y ... of a list of points [x, y]; at least three.

    Raises:
        DataError: It is no such list.
    """
    pairs = require_list(points, where, "points")
    if not all(isinstance(pair, (list, tuple)) and len(pair) >= 2 for pair in pairs) or len(pairs) < 3:
        raise DataError(f"{where}: expected three points x y or more, got {str(points)[:60]}")
    return require_numbers([value for pair in pairs for value in pair[:2]], where, "points")


def polygon_box(polygon: list[float]) -> BoxTuple:
    """x1 y1 x2 y2 around a polygon x y x y ..."""
    return min(polygon[::2]), min(polygon[1::2]), max(polygon[::2]), max(polygon[1::2])

"""Payloads: the images and parameters in a body, whatever form a client sends.

An image is the bytes of its file, a file of a form (multipart/form-data), base64 text, a `data:` URI, or one of these
in JSON. Everything here takes time in proportion to the body and runs in threads. It works in pieces, because one call
into C code holds the GIL until its end, and the event loop waits meanwhile.
"""

import binascii
import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.exceptions import HTTPException

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_PIECE = 1 << 18
"""bytes that one call into C code processes"""
_JSON_LIMITS = {
    b",": 4_000_000,
    b"[": 500_000,
    b"{": 100_000,
    b'"': 200_000,
    b"\\": 2_000_000,
    b"null": 100_000,
    b"true": 100_000,
    b"false": 100_000,
}
"""how often each text may be in JSON: parsing more takes seconds, or holds the GIL"""
_FILE_START = re.compile(rb"\xff\xd8|\x89PNG|GIF8|RIFF|BM|II|MM|P[1-7]\s")
"""how the files of the supported formats start; no base64 text of an image does"""
_BASE64 = re.compile(rb"[A-Za-z0-9+/_\-=\s]{16,64}\Z")
_URLENCODED = b"application/x-www-form-urlencoded"
_REMOVED = re.compile(rb"[\0\r\n]")
"""bytes that `curl -d @FILE` removes; every image file has some"""
_FORM = re.compile(rb"[A-Za-z_]+=")
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_SPACE = b" \t\r\n"
_IMAGE_FIELDS = ("image", "images", "file", "files")
_ENCODINGS = ("gzip", "x-gzip", "deflate")
_MAX_FIELDS = 16
"""maximum number of fields of a form besides images"""
_HOW = 'send the bytes of an image file, a form with one file, or JSON {"image": "base64"}'


@dataclass(frozen=True, slots=True)
class Payload:
    """What a body contains."""

    images: list[bytes]
    """bytes of image files"""
    fields: Mapping[str, str]
    """parameters beside the images, as in the query"""


def is_compressed(encoding: str) -> bool:
    """Whether a Content-Encoding header has one of the known encodings. Raises HTTPException 415 for any other."""
    name = encoding.strip().lower()
    if name not in ("", "identity", *_ENCODINGS):
        raise HTTPException(415, f"Content-Encoding: expected gzip, deflate or none, got {encoding[:100]}")
    return name in _ENCODINGS


def decompress(content: bytes, encoding: str, limit: int) -> bytes:
    """The body without its Content-Encoding.

    Args:
        content: The body as it arrived.
        encoding: The Content-Encoding header; empty if there is none.
        limit: Maximum number of bytes of the result.

    Raises:
        HTTPException: 400 for a broken body, 413 for a larger one, 415 for an unknown encoding.
    """
    if not is_compressed(encoding):
        return content
    inflater = zlib.decompressobj(wbits=47)  # gzip and zlib headers
    pieces, size, rest = [], 0, content
    try:
        while rest and not inflater.eof:
            piece = inflater.decompress(rest, _PIECE)
            pieces.append(piece)
            size += len(piece)
            if size > limit:
                raise HTTPException(413, f"expected at most {limit:,} bytes after decompression, got more")
            rest = inflater.unconsumed_tail
            if not piece and not rest:
                break
    except zlib.error:
        raise HTTPException(400, f"Content-Encoding: expected a body in {encoding[:100]}") from None
    if not inflater.eof or inflater.unused_data:
        raise HTTPException(400, f"Content-Encoding: expected a whole body in {encoding[:100]}")
    return b"".join(pieces)


def read_image(content: bytes, content_type: str) -> Payload:
    """The one image of a body and its parameters.

    Args:
        content: The body.
        content_type: The Content-Type header; it may be missing or wrong where the content is clear.

    Raises:
        HTTPException: 400 if the body has not exactly one image, or cannot be parsed.
    """
    media_type, options = parse_options_header(content_type)
    if media_type == b"multipart/form-data":
        payload = _read_form(content, options.get(b"boundary", b""), 1)
    elif _FILE_START.match(content):
        if media_type == _URLENCODED and not _REMOVED.search(content):
            raise HTTPException(
                415, "the image lacks bytes, which `curl -d` removes; send it with `curl --data-binary`"
            )
        return Payload([content], {})
    elif media_type == b"application/json" or content[:64].lstrip()[:1] == b"{":
        payload = _read_json_image(content)
    elif media_type == _URLENCODED and _FORM.match(content[:64]):
        payload = _read_urlencoded(content)
    else:
        return Payload([_file_bytes(content)], {})
    if len(payload.images) != 1:
        raise HTTPException(400, f"expected one image, got {len(payload.images)}; {_HOW}")
    return payload


def read_images(content: bytes, content_type: str, limit: int) -> Payload:
    """The images of `{"images": ["base64", ...]}` or of a form with several files, and the parameters.

    Args:
        content: The body.
        content_type: The Content-Type header.
        limit: Maximum number of images.

    Raises:
        HTTPException: 400 for any other body, 413 for too many images.
    """
    media_type, options = parse_options_header(content_type)
    if media_type == b"multipart/form-data":
        payload = _read_form(content, options.get(b"boundary", b""), limit)
    else:
        payload = _read_json_images(content, limit)
    if not 0 < len(payload.images) <= limit:
        raise HTTPException(413 if payload.images else 400, f"expected 1 to {limit} images, got {len(payload.images)}")
    return payload


def parse_json(content: bytes) -> Any:
    """Parse JSON so that other threads run meanwhile.

    The parser in C holds the GIL until it calls a Python function, as it does for each number and object. What it
    parses without such a call is limited in length.

    Raises:
        ValueError: The text is not JSON, has a name twice in an object, NaN, or too many values.
        RecursionError: It is nested too deeply.
    """
    for text, limit in _JSON_LIMITS.items():
        if _has_more(content, text, limit):
            raise ValueError(f"expected at most {limit:,} of {text.decode()}")
    return json.loads(
        content, parse_int=_parse_int, parse_float=_parse_float, parse_constant=_refuse, object_pairs_hook=_to_dict
    )


def _has_more(content: bytes, text: bytes, limit: int) -> bool:
    """Whether a text is more than `limit` times in a body, counted in pieces."""
    count = 0
    for start in range(0, len(content), _PIECE):
        count += content.count(text, start, start + _PIECE + len(text) - 1)  # also where it begins in this piece
        if count > limit:
            return True
    return False


def _parse_int(digits: str) -> int:
    return int(digits)


def _parse_float(digits: str) -> float:
    return float(digits)


def _refuse(text: str) -> None:
    raise ValueError(text)


def _to_dict(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a name is twice in an object")
    return dict(pairs)


def decode_base64(text: str | bytes) -> bytes:
    """The bytes of base64 text, or of a `data:` URI with base64.

    White space is ignored, padding may be missing, and the alphabet may be that of URLs.

    Raises:
        ValueError: The text is not base64.
    """
    content = text.encode("ascii") if isinstance(text, str) else text
    if content[:5].lower() == b"data:":
        head, _, content = content.partition(b",")
        if not head.lower().endswith(b";base64"):
            raise ValueError("expected a data: URI with ;base64")
    end = len(content.rstrip(_SPACE + b"="))
    pieces, rest = [], b""
    for start in range(0, end, _PIECE):
        piece = rest + content[start : min(start + _PIECE, end)].translate(_URL_SAFE, _SPACE)
        if b"=" in piece:
            raise ValueError("expected padding at the end only")
        whole = len(piece) - len(piece) % 4
        rest = piece[whole:]
        pieces.append(binascii.a2b_base64(piece[:whole], strict_mode=True) if whole else b"")
    if rest:
        pieces.append(binascii.a2b_base64(rest + b"=" * (-len(rest) % 4), strict_mode=True))
    return b"".join(pieces)


def _file_bytes(content: bytes) -> bytes:
    """The bytes of an image file, which may be in base64 or a `data:` URI."""
    is_text = content[:5].lower() == b"data:" or (not _FILE_START.match(content) and _BASE64.match(content[:64]))
    if not is_text:
        return content
    try:
        return decode_base64(content)
    except ValueError:
        return content


def _read_json_image(content: bytes) -> Payload:
    fields = _parse_object(content, '{"image": "base64"}')
    if "images" in fields:
        raise HTTPException(400, "expected one image, got images; send several to /v1/predict/batch")
    return Payload([_decode_field(fields.pop("image", None), "image")], _to_texts(fields))


def _read_json_images(content: bytes, limit: int) -> Payload:
    expected = '{"images": ["base64", ...]}'
    fields = _parse_object(content, expected)
    texts = fields.pop("images", None)
    if not isinstance(texts, list):
        raise HTTPException(400, f"expected {expected}, got no list of images")
    if len(texts) > limit:
        raise HTTPException(413, f"expected 1 to {limit} images, got {len(texts)}")
    images = [_decode_field(text, f"images[{index}]") for index, text in enumerate(texts)]
    return Payload(images, _to_texts(fields))


def _parse_object(content: bytes, expected: str) -> dict[str, Any]:
    try:
        fields = parse_json(content)
    except (ValueError, RecursionError):
        raise HTTPException(400, f"expected {expected}, got a body that is not valid JSON") from None
    if not isinstance(fields, dict):
        raise HTTPException(400, f"expected {expected}, got JSON of another form")
    return fields


def _decode_field(text: Any, name: str) -> bytes:
    if not isinstance(text, str):
        raise HTTPException(400, f"{name}: expected an image in base64")
    try:
        return decode_base64(text)
    except ValueError:
        raise HTTPException(400, f"{name}: expected an image in base64, got other text") from None


def _to_texts(fields: Mapping[str, Any]) -> dict[str, str]:
    """Parameters of a JSON object as in a query."""
    for name, value in fields.items():
        if not isinstance(value, str | int | float):
            raise HTTPException(400, f"{name[:100]}: expected a text, number or boolean")
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()}


def _read_urlencoded(content: bytes) -> Payload:
    try:
        if content.count(b"%") > _PIECE:
            raise ValueError
        pairs = parse_qsl(content.decode("ascii"), keep_blank_values=True, max_num_fields=_MAX_FIELDS)
    except ValueError:
        raise HTTPException(400, f"expected a form with an image in base64; {_HOW}") from None
    images = [value.replace(" ", "+") for name, value in pairs if name in _IMAGE_FIELDS]  # an unescaped + is a space
    fields = _unique([(name, value) for name, value in pairs if name not in _IMAGE_FIELDS])
    return Payload([_decode_field(text, "image") for text in images], fields)


def _unique(pairs: list[tuple[str, str]]) -> dict[str, str]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise HTTPException(400, "expected each field of the form once")
    return fields


class _FormParts:
    """Collects the parts of a form from the parser's callbacks."""

    def __init__(self, limit: int) -> None:
        self.parts: list[tuple[str, bytes | None, bytes]] = []  # name, name of the file if it is one, content
        self._limit = limit
        self._header = self._value = b""
        self._disposition = b""
        self._pieces: list[bytes] = []
        self.complete = False

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._add_header,
            "on_header_value": self._add_value,
            "on_header_end": self._end_header,
            "on_part_data": self._add_data,
            "on_part_end": self._end,
            "on_end": self._complete,
        }

    def _complete(self) -> None:
        self.complete = True

    def _begin(self) -> None:
        if len(self.parts) >= self._limit:
            raise HTTPException(413, f"expected a form of at most {self._limit} parts, got more")
        self._disposition, self._pieces = b"", []

    def _add_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header = self._value = b""

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        self._pieces.append(data[start:end])

    def _end(self) -> None:
        _, options = parse_options_header(self._disposition)
        name = options.get(b"name", b"").decode("utf-8", "replace")
        self.parts.append((name, options.get(b"filename"), b"".join(self._pieces)))


def _read_form(content: bytes, boundary: bytes, limit: int) -> Payload:
    """The images and fields of multipart/form-data."""
    parts = _FormParts(limit + _MAX_FIELDS)
    try:
        parser = MultipartParser(boundary, parts.callbacks())
        for start in range(0, len(content), _PIECE):
            parser.write(content[start : start + _PIECE])
        parser.finalize()
    except FormParserError:
        parts.complete = False
    if not parts.complete:
        raise HTTPException(400, f"expected a complete form (multipart/form-data); {_HOW}")
    images, pairs = [], []
    for name, file_name, value in parts.parts:
        if file_name == b"" and not value:  # a browser's field without a file
            continue
        if file_name is not None or name in _IMAGE_FIELDS:
            images.append(_file_bytes(value))
        else:
            pairs.append((name, value[:100].decode("utf-8", "replace")))
    return Payload(images, _unique(pairs))

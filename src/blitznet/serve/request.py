"""Requests: query parameters, bodies and images, read and checked against the limits."""

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar, get_args

from starlette.exceptions import HTTPException
from starlette.requests import Request

from blitznet.core.errors import DataError
from blitznet.core.image import ImageSource
from blitznet.serve.limits import ServeLimits

ResponseFormat = Literal["json", "overlay", "class_map"]
"""form of a response: JSON, the annotated image as PNG, or the class map as palette PNG"""
_Value = TypeVar("_Value")

_FORMATS: tuple[ResponseFormat, ...] = get_args(ResponseFormat)
_JSON, _PNG = "application/json", "image/png"


@dataclass(frozen=True, slots=True)
class PredictRequest:
    """What a client requests for an image; each field is a query parameter."""

    format: ResponseFormat
    min_score: float
    """minimum score of the returned detections, 0 to 1"""
    class_map: bool
    """whether the JSON contains the class map"""
    panoptic: bool
    """whether the JSON contains the panoptic segmentation"""

    @property
    def needs_class_map(self) -> bool:
        """Whether the response is made from the class map."""
        return self.format != "json" or self.class_map or self.panoptic

    @property
    def media_type(self) -> str:
        """Content type of the response."""
        return _JSON if self.format == "json" else _PNG


@dataclass(frozen=True, slots=True)
class Parameter(Generic[_Value]):
    """A query parameter, declared once for HTTP, WebSocket, KServe and the OpenAPI document."""

    name: str
    description: str
    schema: Mapping[str, Any]
    """JSON schema of the value, without the default"""
    parse: Callable[[str], _Value]
    """converts the text; raises ValueError if it is invalid"""
    expected: str
    """valid values, for error messages"""
    default: _Value
    """value if the parameter is absent"""

    def read(self, query: Mapping[str, str]) -> _Value:
        """The value in the query, or the default. Raises HTTPException 400 if it is invalid."""
        text = query.get(self.name)
        if text is None:
            return self.default
        try:
            return self.parse(text)
        except ValueError as error:
            raise HTTPException(400, f"{self.name}: expected {self.expected}, got {text!r}") from error


def _parse_score(text: str) -> float:
    score = float(text)
    if not 0 <= score <= 1:
        raise ValueError(text)
    return score


def _parse_bool(text: str) -> bool:
    if text not in ("0", "1", "false", "true"):
        raise ValueError(text)
    return text in ("1", "true")


def _parse_format(text: str) -> ResponseFormat:
    for name in _FORMATS:
        if text == name:
            return name
    raise ValueError(text)


MIN_SCORE = Parameter(
    name="min_score",
    description="minimum score of the returned detections",
    schema={"type": "number", "minimum": 0, "maximum": 1},
    parse=_parse_score,
    expected="0 to 1",
    default=0.5,
)
CLASS_MAP = Parameter(
    name="class_map",
    description="return the class map in the JSON",
    schema={"type": "boolean"},
    parse=_parse_bool,
    expected="0 or 1",
    default=False,
)
PANOPTIC = Parameter(
    name="panoptic",
    description="return the panoptic segmentation in the JSON",
    schema={"type": "boolean"},
    parse=_parse_bool,
    expected="0 or 1",
    default=False,
)
FORMAT: Parameter[ResponseFormat | None] = Parameter(
    name="format",
    description="form of the response, instead of the Accept header",
    schema={"type": "string", "enum": list(_FORMATS)},
    parse=_parse_format,
    expected="json, overlay or class_map",
    default=None,
)
JSON_PARAMETERS: tuple[Parameter[Any], ...] = (MIN_SCORE, CLASS_MAP, PANOPTIC)
"""parameters of the endpoints that return JSON only"""
PARAMETERS: tuple[Parameter[Any], ...] = (*JSON_PARAMETERS, FORMAT)


def parse_request(query: Mapping[str, str], accept: str = "*/*") -> PredictRequest:
    """Parse the query of an HTTP request or a WebSocket.

    Args:
        query: Parameters by name; unknown ones are ignored.
        accept: The Accept header, which decides the format unless the query does.

    Raises:
        HTTPException: 400 for an invalid value, 406 for an Accept header without a supported type.
    """
    return PredictRequest(
        format=FORMAT.read(query) or _negotiate_format(accept),
        min_score=MIN_SCORE.read(query),
        class_map=CLASS_MAP.read(query),
        panoptic=PANOPTIC.read(query),
    )


def _negotiate_format(accept: str) -> ResponseFormat:
    """The format of the first supported type in an Accept header."""
    for media_range in accept.split(","):
        name, *options = (part.strip() for part in media_range.split(";"))
        if name in (_JSON, "application/*", "*/*", ""):
            return "json"
        if name in (_PNG, "image/*"):
            return "class_map" if "content=class_map" in options else "overlay"
    raise HTTPException(406, f"expected Accept: {_JSON}, {_PNG} or {_PNG};content=class_map")


async def read_body(request: Request, limits: ServeLimits) -> bytes:
    """The whole body. Raises HTTPException 413 as soon as it is too large, 408 if it does not arrive in time."""
    too_large = HTTPException(413, f"expected at most {limits.max_body_bytes:,} bytes, got more")
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > limits.max_body_bytes:
        raise too_large
    chunks, size = [], 0
    try:
        async with asyncio.timeout(limits.timeout):
            async for chunk in request.stream():
                size += len(chunk)
                if size > limits.max_body_bytes:
                    raise too_large
                chunks.append(chunk)
    except TimeoutError:
        raise HTTPException(408, f"the request did not arrive within {limits.timeout:g} s") from None
    return b"".join(chunks)


def parse_json(content: bytes) -> Any:
    """Parse JSON so that other threads run meanwhile.

    The parser in C holds the GIL until the end, unless it calls a Python function for each number.

    Raises:
        ValueError: The text is not JSON.
        RecursionError: It is nested too deeply.
    """
    return json.loads(content, parse_int=_parse_int, parse_float=_parse_float)


def _parse_int(digits: str) -> int:
    return int(digits)


def _parse_float(digits: str) -> float:
    return float(digits)


def decode_image(content: bytes, limits: ServeLimits) -> ImageSource:
    """The image in a file's bytes, not decoded yet.

    Raises:
        HTTPException: 400 for no bytes, 413 for too many pixels, 415 for anything that is not an image.
    """
    if not content:
        raise HTTPException(400, "expected the bytes of an image, got nothing")
    image = ImageSource(content)
    try:
        height, width = image.size()
    except DataError as error:
        raise HTTPException(413 if "pixels" in str(error) else 415, str(error)) from error
    require_pixels(height, width, limits)
    return image


def require_pixels(height: int, width: int, limits: ServeLimits) -> None:
    """Raise HTTPException 413 for an image of more pixels than the limit."""
    if height * width > limits.max_pixels:
        raise HTTPException(413, f"expected at most {limits.max_pixels:,} pixels, got {width}x{height}")

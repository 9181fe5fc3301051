"""Requests: parameters, bodies and images, read and checked against the limits."""

import asyncio
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, Literal, TypeVar, get_args

from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request

from blitznet.core.errors import DataError
from blitznet.core.image import FORMATS, ImageSource
from blitznet.core.spec import ALL_TASKS, Task
from blitznet.serve.admission import Ticket
from blitznet.serve.limits import ServeLimits

ResponseFormat = Literal["json", "overlay", "class_map"]
"""form of a response: JSON, the annotated image, or the class map as palette PNG"""
OverlayType = Literal["image/jpeg", "image/png"]
"""content type of an annotated image; PNG is lossless, and takes many times as long for a large image"""
_Value = TypeVar("_Value")

_FORMATS: tuple[ResponseFormat, ...] = get_args(ResponseFormat)
_JSON: Final = "application/json"
_JPEG: Final = "image/jpeg"
_PNG: Final = "image/png"
_MAX_ACCEPT, _MAX_PARAMETERS = 1_000, 32
"""characters of an Accept header and parameters of a query: the event loop parses them"""
_RESAVE = "; save it again"
"""end of the message of an image that would take long to decode"""
_NUMBER = re.compile(r"[0-9+\-.eE]+")


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
    overlay_type: OverlayType = _JPEG
    """content type of an annotated image"""

    @property
    def needs_class_map(self) -> bool:
        """Whether the response is made from the class map."""
        return self.format != "json" or self.class_map or self.panoptic

    @property
    def media_type(self) -> str:
        """Content type of the response."""
        return {"json": _JSON, "overlay": self.overlay_type, "class_map": _PNG}[self.format]


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
            raise HTTPException(400, f"{self.name}: expected {self.expected}, got {text[:100]!r}") from error


def _parse_score(text: str) -> float:
    score = float(text)
    if not 0 <= score <= 1 or not _NUMBER.fullmatch(text):  # float() accepts underscores, spaces and other digits
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
_NAMES = tuple(parameter.name for parameter in PARAMETERS)


def read_query(request: HTTPConnection) -> QueryParams:
    """The query of a request. Raises HTTPException 400 for more parameters than are parsed at once."""
    if request.scope["query_string"].count(b"&") >= _MAX_PARAMETERS:
        raise HTTPException(400, f"expected at most {_MAX_PARAMETERS} parameters, got more")
    return request.query_params


def parse_request(
    query: Mapping[str, str] | QueryParams, accept: str = "*/*", *, tasks: tuple[Task, ...] = ALL_TASKS
) -> PredictRequest:
    """Parse the parameters of an HTTP request or a WebSocket.

    Args:
        query: Parameters by name.
        accept: The Accept header, which decides the format unless the query does.
        tasks: Tasks of the model; a parameter that needs another one is refused.

    Raises:
        HTTPException: 400 for an unknown, repeated or invalid parameter, or a long Accept header, 406 for one without
            a supported type.
    """
    if len(accept) > _MAX_ACCEPT:
        raise HTTPException(400, f"Accept: expected at most {_MAX_ACCEPT:,} characters, got {len(accept):,}")
    names = [name for name, _ in query.multi_items()] if isinstance(query, QueryParams) else list(query)
    for name in names:
        if name not in _NAMES:
            raise HTTPException(400, f"{name[:100]}: unknown parameter; expected {', '.join(_NAMES)}")
    if len(set(names)) < len(names):
        raise HTTPException(400, "expected each parameter once")
    request = PredictRequest(
        format=FORMAT.read(query) or _negotiate_format(accept),
        min_score=MIN_SCORE.read(query),
        class_map=CLASS_MAP.read(query),
        panoptic=PANOPTIC.read(query),
        overlay_type=_negotiate_overlay(accept),
    )
    if request.format != "json" and (request.class_map or request.panoptic):
        raise HTTPException(400, "class_map, panoptic: expected with the format json only")
    if "segmentation" not in tasks and (request.class_map or request.panoptic or request.format == "class_map"):
        raise HTTPException(400, "class_map, panoptic: this model has no segmentation")
    return request


def _negotiate_format(accept: str) -> ResponseFormat:
    """The supported type with the highest quality in an Accept header; of equal ones the first."""
    best: tuple[float, ResponseFormat] | None = None
    for name, quality, options in _media_ranges(accept):
        if quality > 0 and (best is None or quality > best[0]):
            if name in (_JSON, "application/*", "*/*", ""):
                best = quality, "json"
            elif name == _PNG and "content=class_map" in options:
                best = quality, "class_map"
            elif name in (_JPEG, _PNG, "image/*"):
                best = quality, "overlay"
    if best is None:
        raise HTTPException(406, f"expected Accept: {_JSON}, {_JPEG}, {_PNG} or {_PNG};content=class_map")
    return best[1]


def _negotiate_overlay(accept: str) -> OverlayType:
    """PNG if an Accept header prefers it to JPEG."""
    qualities = {name: quality for name, quality, _ in reversed(_media_ranges(accept))}
    return _PNG if qualities.get(_PNG, 0) > qualities.get(_JPEG, qualities.get("image/*", 0)) else _JPEG


def _media_ranges(accept: str) -> list[tuple[str, float, list[str]]]:
    """Name, quality and options of each media range in an Accept header."""
    ranges = []
    for media_range in accept.split(","):
        name, *options = (part.strip().lower() for part in media_range.split(";"))
        ranges.append((name, *_split_quality(options)))
    return ranges


def _split_quality(options: list[str]) -> tuple[float, list[str]]:
    """The q of a media range, 1 if it has none, and its other options."""
    quality = 1.0
    for option in options:
        if option.startswith("q="):
            try:
                quality = float(option[2:])
            except ValueError:
                quality = 0.0
    return quality, [option for option in options if not option.startswith("q=")]


async def read_body(request: Request, limits: ServeLimits, ticket: Ticket, deadline: float) -> bytes:
    """The whole body.

    Args:
        request: The request.
        limits: Limits of requests.
        ticket: Counts the bytes.
        deadline: Time of the event loop by which the body must have arrived.

    Raises:
        HTTPException: 413 as soon as it is too large, 408 if it does not arrive in time.
        BusyError: All bodies together are too large.
    """
    too_large = HTTPException(413, f"expected at most {limits.max_body_bytes:,} bytes, got more")
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > limits.max_body_bytes:
        raise too_large
    chunks, size = [], 0
    try:
        async with asyncio.timeout_at(deadline):
            async for chunk in request.stream():
                size += len(chunk)
                if size > limits.max_body_bytes:
                    raise too_large
                ticket.set_body(size)
                chunks.append(chunk)
    except TimeoutError:
        raise HTTPException(408, f"the request did not arrive within {limits.timeout:g} s") from None
    return b"".join(chunks)


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
        raise image_error(error, limits) from error
    require_pixels(height, width, limits)
    return image


def image_error(error: DataError, limits: ServeLimits) -> HTTPException:
    """The response to an image that cannot be read, in words for a client."""
    text = str(error)
    if text.endswith(_RESAVE):
        return HTTPException(413, text.partition(": ")[2])
    if "pixels" in text:
        return HTTPException(413, f"expected an image of at most {limits.max_pixels:,} pixels, got more")
    if "known format" in text:
        _, is_named, kind = text.partition("; it is ")  # such as HEIC
        hint = f"; it is {kind}" if is_named else ""
        return HTTPException(415, f"not an image of a known format ({', '.join(FORMATS)}){hint}")
    return HTTPException(415, "the image cannot be decoded; the file is broken or truncated")


def require_pixels(height: int, width: int, limits: ServeLimits) -> None:
    """Raise HTTPException 413 for an image of more pixels than the limit."""
    if height * width > limits.max_pixels:
        raise HTTPException(413, f"expected at most {limits.max_pixels:,} pixels, got {width}x{height}")

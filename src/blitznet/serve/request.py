"""What a client asks for: a request's words and bytes, checked."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from starlette.exceptions import HTTPException
from starlette.requests import Request

from blitznet.core.errors import DataError
from blitznet.core.image import ImageSource
from blitznet.postprocess.result import Result
from blitznet.serve.limits import ServeLimits
from blitznet.serve.response import render_class_map, render_json, render_overlay

Kind = Literal["json", "overlay", "mask"]
_KINDS: tuple[Kind, ...] = get_args(Kind)
_PNG, _JSON = "image/png", "application/json"
_DEFAULT_SCORE = 0.5


@dataclass(frozen=True, slots=True)
class PredictRequest:
    """How one image shall be answered."""

    kind: Kind
    score: float
    pixels: bool
    """JSON with the class map"""
    instances: bool
    """JSON with the panoptic map"""

    @property
    def class_map(self) -> bool:
        """Whether the network's class map is needed."""
        return self.kind != "json" or self.pixels or self.instances

    @property
    def media_type(self) -> str:
        """Of the answer."""
        return _JSON if self.kind == "json" else _PNG

    def render(self) -> Callable[[ImageSource, Result], bytes]:
        """What makes the answer."""
        if self.kind == "json":
            return render_json(pixels=self.pixels, instances=self.instances)
        return render_overlay if self.kind == "overlay" else render_class_map


def parse_request(request: Request) -> PredictRequest:
    """Read Accept and the words after the question mark: answer, score, class_map, panoptic. 400 and 406 tell why."""
    return PredictRequest(
        kind=_kind(request),
        score=parse_score(request.query_params.get("score")),
        pixels=_yes(request, "class_map"),
        instances=_yes(request, "panoptic"),
    )


def parse_score(text: str | None) -> float:
    """The lowest score, 0.5 if it is not given; 400 where it is no number from 0 to 1."""
    try:
        score = _DEFAULT_SCORE if text is None else float(text)
    except ValueError:
        score = -1.0
    if not 0 <= score <= 1:
        raise HTTPException(400, f"score: expected 0 to 1, got {text!r}")
    return score


async def read_body(request: Request, limits: ServeLimits) -> bytes:
    """All that was sent; 413 where it is too much, as soon as that is known, 408 where it does not come."""
    told = request.headers.get("content-length", "0")
    if told.isdigit() and int(told) > limits.body:
        raise _too_large(limits)
    parts, size = [], 0
    try:
        async with asyncio.timeout(limits.seconds):
            async for part in request.stream():
                size += len(part)
                if size > limits.body:
                    raise _too_large(limits)
                parts.append(part)
    except TimeoutError:
        raise HTTPException(408, f"the request did not come in within {limits.seconds:g} s") from None
    return b"".join(parts)


def parse_json(content: bytes) -> Any:
    """The JSON in these bytes, for a thread of its own; ValueError or RecursionError where there is none.

    A parser in C holds the interpreter until its end; one that calls Python for each number lets others in.
    """
    return json.loads(content, parse_int=_whole, parse_float=_real)


def decode_image(content: bytes, limits: ServeLimits) -> ImageSource:
    """The image in these bytes: 400 without any, 415 for what is no image, 413 for one of too many pixels."""
    if not content:
        raise HTTPException(400, "expected an image's bytes, got nothing")
    image = ImageSource(content)
    try:
        height, width = image.size()
    except DataError as error:
        raise HTTPException(413 if "pixels" in str(error) else 415, str(error)) from error
    if height * width > limits.pixels:
        raise HTTPException(413, f"expected at most {limits.pixels:,} pixels, got {width}x{height}")
    return image


def _whole(digits: str) -> int:
    return int(digits)


def _real(digits: str) -> float:
    return float(digits)


def _too_large(limits: ServeLimits) -> HTTPException:
    return HTTPException(413, f"expected at most {limits.body:,} bytes, got more")


def _kind(request: Request) -> Kind:
    word = request.query_params.get("answer")
    if word is not None:
        for kind in _KINDS:
            if word == kind:
                return kind
        raise HTTPException(400, f"answer: expected json, overlay or mask, got {word!r}")
    expected = [part.split(";") for part in request.headers.get("accept", "*/*").split(",")]
    for name, *options in expected:
        if name.strip() in (_JSON, "application/*", "*/*", ""):
            return "json"
        if name.strip() in (_PNG, "image/*"):
            return "mask" if "content=mask" in [option.strip() for option in options] else "overlay"
    raise HTTPException(406, f"expected Accept: {_JSON}, {_PNG} or {_PNG};content=mask")


def _yes(request: Request, name: str) -> bool:
    word = request.query_params.get(name, "0")
    if word not in ("0", "1", "false", "true"):
        raise HTTPException(400, f"{name}: expected 0 or 1, got {word!r}")
    return word in ("1", "true")

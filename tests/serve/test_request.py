import asyncio
import struct
import zlib
from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request

from blitznet.core.errors import DataError
from blitznet.serve.admission import Admission
from blitznet.serve.limits import ServeLimits
from blitznet.serve.request import PredictRequest, decode_image, parse_request, read_body
from support.images import encode_random_image


def test_an_empty_query_has_the_defaults() -> None:
    request = parse_request({})
    assert request == PredictRequest(format="json", min_score=0.5, class_map=False, panoptic=False)
    assert not request.needs_class_map
    assert request.media_type == "application/json"


def test_every_parameter_is_parsed() -> None:
    query = {"min_score": "0.3", "class_map": "true", "panoptic": "1", "format": "json"}
    request = parse_request(query)
    assert request == PredictRequest(format="json", min_score=0.3, class_map=True, panoptic=True)
    assert request.needs_class_map
    assert parse_request({"format": "overlay"}).media_type == "image/jpeg"
    assert parse_request({"format": "class_map"}).media_type == "image/png"


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("*/*", "image/jpeg"),
        ("image/*", "image/jpeg"),
        ("image/png", "image/png"),
        ("image/png, image/jpeg", "image/jpeg"),
        ("image/png, image/jpeg;q=0.5", "image/png"),
        ("image/avif,image/webp,image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5", "image/png"),
        ("image/png;q=0.1, image/*", "image/jpeg"),
        ("application/json", "image/jpeg"),
    ],
)
def test_accept_decides_the_type_of_an_overlay(accept: str, expected: str) -> None:
    assert parse_request({"format": "overlay"}, accept).media_type == expected


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("min_score", "2", "0 to 1"),
        ("min_score", "x", "0 to 1"),
        ("min_score", "nan", "0 to 1"),
        ("min_score", "0_1", "0 to 1"),
        ("min_score", " 0.5", "0 to 1"),
        ("min_score", "\u0660.5", "0 to 1"),
        ("class_map", "yes", "0 or 1"),
        ("panoptic", "", "0 or 1"),
        ("format", "mask", "json, overlay or class_map"),
    ],
)
def test_an_invalid_parameter_is_400(name: str, value: str, expected: str) -> None:
    with pytest.raises(HTTPException) as caught:
        parse_request({name: value})
    assert (caught.value.status_code, caught.value.detail) == (400, f"{name}: expected {expected}, got {value!r}")


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("*/*", "json"),
        ("application/*", "json"),
        ("text/html, application/json;q=0.9", "json"),
        ("image/png", "overlay"),
        ("image/jpeg", "overlay"),
        ("image/*", "overlay"),
        ("image/png;content=class_map", "class_map"),
        ("image/png; content=class_map", "class_map"),
        ("image/png;q=0.1, Application/JSON;q=0.5", "json"),
        ("application/json;q=0, image/png;q=0.1", "overlay"),
    ],
)
def test_accept_decides_the_format_unless_the_query_does(accept: str, expected: str) -> None:
    assert parse_request({}, accept).format == expected
    assert parse_request({"format": "json"}, accept).format == "json"


def test_an_unsupported_accept_is_406() -> None:
    with pytest.raises(HTTPException, match="406: expected Accept: application/json"):
        parse_request({}, "text/html")


def make_request(chunks: list[bytes], headers: list[tuple[bytes, bytes]] | None = None) -> Request:
    """A request that delivers these chunks and then stalls."""
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": chunk, "more_body": index < len(chunks) - 1}
        for index, chunk in enumerate(chunks)
    ]

    async def receive() -> dict[str, Any]:
        if not messages:
            await asyncio.sleep(5)
        return messages.pop(0)

    return Request({"type": "http", "method": "POST", "headers": headers or []}, receive)


def read(chunks: list[bytes], limits: ServeLimits, headers: list[tuple[bytes, bytes]] | None = None) -> bytes:
    async def run() -> bytes:
        with Admission(limits).enter(0) as ticket:
            deadline = asyncio.get_running_loop().time() + limits.timeout
            return await read_body(make_request(chunks, headers), limits, ticket, deadline)

    return asyncio.run(run())


def test_a_body_within_the_limit_is_read_whole() -> None:
    limits = ServeLimits(max_body_bytes=6)
    assert read([b"abc", b"def"], limits) == b"abcdef"


@pytest.mark.parametrize(
    ("chunks", "headers"), [([b"abcd", b"efg"], None), ([], [(b"content-length", b"7")])], ids=["chunked", "declared"]
)
def test_a_body_beyond_the_limit_is_413(chunks: list[bytes], headers: list[tuple[bytes, bytes]] | None) -> None:
    with pytest.raises(HTTPException, match="413: expected at most 6 bytes, got more"):
        read(chunks, ServeLimits(max_body_bytes=6), headers)


def test_a_body_that_stalls_is_408() -> None:
    with pytest.raises(HTTPException, match=r"408: the request did not arrive within 0\.1 s"):
        read([], ServeLimits(timeout=0.1))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "400: expected the bytes of an image, got nothing"),
        (b"text", "415: not an image of a known format"),
        (b"\0\0\0\x18ftypheic" + bytes(99), r"415: .*, PPM\); it is a HEIC image, save it as JPEG"),
        (b"\0\0\0\x18ftypisom" + bytes(99), r"415: .*, PPM\)$"),
        (encode_random_image(), "413: expected at most 2,399 pixels, got 60x40"),
    ],
)
def test_decode_image_refuses(content: bytes, message: str) -> None:
    with pytest.raises(HTTPException, match=message):
        decode_image(content, ServeLimits(max_pixels=2399))


def make_chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize(
    "content",
    [
        encode_random_image()[:33] + make_chunk(b"prVt") * 50_000 + encode_random_image()[33:],
        encode_random_image(file_format="JPEG")[:2] + b"\xff\xfe\x00\x02" * 100_000,
        encode_random_image(file_format="JPEG")[:2] + b"\xff" * 100_000,
        b"P6\n#" + b"x" * 100_000 + b"\n60 40 255\n" + bytes(7200),
    ],
    ids=["png", "jpeg-comments", "jpeg-fill", "ppm"],
)
def test_an_endless_header_is_415(content: bytes) -> None:
    with pytest.raises(HTTPException, match="415: the image cannot be decoded; the file is broken or truncated"):
        decode_image(content, ServeLimits())


def test_chunks_after_the_pixels_end_the_decoding() -> None:
    content = encode_random_image()
    image = decode_image(content[:-12] + make_chunk(b"prVt") * 50_000 + content[-12:], ServeLimits())
    with pytest.raises(DataError, match="expected a file in fewer parts"):
        image.read()


def test_decode_image_accepts_the_limit() -> None:
    assert decode_image(encode_random_image(), ServeLimits(max_pixels=2400)).size() == (40, 60)

import base64
import gzip
import json
import zlib

import pytest
from starlette.exceptions import HTTPException

from blitznet.serve.payload import decode_base64, decompress, parse_json, read_image, read_images
from support.images import encode_random_image

IMAGE = encode_random_image()
TEXT = base64.b64encode(IMAGE)
LINES = base64.encodebytes(IMAGE)
URL_SAFE = base64.urlsafe_b64encode(IMAGE).rstrip(b"=")
FORM = "multipart/form-data; boundary=XX"


def make_form(*parts: tuple[str, bytes]) -> bytes:
    """A form; each part is the options of its Content-Disposition, and its content."""
    content = b"".join(
        b"--XX\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n" % (options.encode(), value)
        for options, value in parts
    )
    return content + b"--XX--\r\n"


FILE = 'name="file"; filename="image.jpg"'


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (IMAGE, ""),
        (IMAGE, "image/jpeg"),
        (IMAGE, "application/x-www-form-urlencoded"),
        (make_form((FILE, IMAGE)), FORM),
        (make_form(('name="image"', TEXT)), FORM),
        (make_form(('name="other"; filename=""', b""), (FILE, IMAGE)), FORM),
        (json.dumps({"image": TEXT.decode()}).encode(), "application/json"),
        (json.dumps({"image": f"data:image/png;base64,{TEXT.decode()}"}).encode(), ""),
        (b"image=" + TEXT.replace(b"+", b"%2B"), "application/x-www-form-urlencoded"),
        (b"image=" + TEXT, "application/x-www-form-urlencoded"),
        (TEXT, "text/plain"),
        (LINES, ""),
        (URL_SAFE, ""),
        (b"data:image/png;base64," + TEXT, ""),
        (b"DATA:image/png;BASE64," + URL_SAFE, ""),
    ],
)
def test_an_image_is_read_in_whatever_form(content: bytes, content_type: str) -> None:
    payload = read_image(content, content_type)
    assert (payload.images, payload.fields) == ([IMAGE], {})


@pytest.mark.parametrize("content", [b"P3\n2 1\n255\n1 2 3 4 5 6 7 8 9 10 11 12", b"text", b"", b"data:image/png,x"])
def test_other_bytes_stay_as_they_are(content: bytes) -> None:
    assert read_image(content, "").images == [content]


def test_fields_beside_an_image_are_parameters() -> None:
    form = make_form((FILE, IMAGE), ('name="min_score"', b"0.3"))
    assert read_image(form, FORM).fields == {"min_score": "0.3"}
    body = {"image": TEXT.decode(), "min_score": 0.3, "class_map": True}
    assert read_image(json.dumps(body).encode(), "application/json").fields == {"min_score": "0.3", "class_map": "true"}


@pytest.mark.parametrize(
    ("content", "content_type", "status", "message"),
    [
        (make_form((FILE, IMAGE), (FILE, IMAGE)), FORM, 400, "expected one image, got 2"),
        (make_form(('name="min_score"', b"0.3")), FORM, 400, "expected one image, got 0"),
        (make_form((FILE, IMAGE))[:-9], FORM, 400, "expected a complete form"),
        (make_form((FILE, IMAGE)), "multipart/form-data", 400, "expected a complete form"),
        (make_form(*[('name="x"', b"")] * 100), FORM, 413, "expected a form of at most 17 parts"),
        (make_form((FILE, IMAGE), ('name="x"', b"1"), ('name="x"', b"2")), FORM, 400, "each field of the form once"),
        (make_form(('name="file"; filename=""', b"")), FORM, 400, "expected one image, got 0"),
        (IMAGE.translate(None, b"\0\r\n"), "application/x-www-form-urlencoded", 415, "`curl -d` removes; send it"),
        (b"{", "application/json", 400, "not valid JSON"),
        (b"[]", "application/json", 400, "got JSON of another form"),
        (b"{}", "application/json", 400, "image: expected an image in base64"),
        (b'{"image": "?"}', "application/json", 400, "image: expected an image in base64, got other text"),
        (b'{"image": ["x"]}', "application/json", 400, "image: expected an image in base64"),
        (b'{"images": ["x"]}', "application/json", 400, "send several to /v1/predict/batch"),
        (b'{"image": "", "x": {}}', "application/json", 400, "x: expected a text, number or boolean"),
        (b'{"image": "", "image": ""}', "application/json", 400, "not valid JSON"),
    ],
)
def test_another_body_is_refused(content: bytes, content_type: str, status: int, message: str) -> None:
    with pytest.raises(HTTPException) as caught:
        read_image(content, content_type)
    assert caught.value.status_code == status
    assert message in caught.value.detail


def test_several_images_in_json_or_a_form() -> None:
    body = json.dumps({"images": [TEXT.decode(), f"data:image/jpeg;base64,{TEXT.decode()}", LINES.decode()]}).encode()
    assert read_images(body, "application/json", 3).images == [IMAGE] * 3
    assert read_images(make_form((FILE, IMAGE), (FILE, IMAGE)), FORM, 3).images == [IMAGE] * 2
    with pytest.raises(HTTPException, match="413: expected 1 to 2 images, got 3"):
        read_images(body, "application/json", 2)


@pytest.mark.parametrize("length", [0, 1, 2, 3, 300_000, 786_433])
def test_base64_is_decoded_in_pieces(length: int) -> None:
    content = bytes(range(256)) * (length // 256 + 1)
    content = content[:length]
    for encode in (base64.b64encode, base64.encodebytes, base64.urlsafe_b64encode):
        assert decode_base64(encode(content)) == content
    assert decode_base64(base64.b64encode(content).rstrip(b"=").decode()) == content


@pytest.mark.parametrize("text", ["a", "a===", "ab=c", "====a", "é", "a b*c", "data:image/png,abcd", "ab==" * 70_000])
def test_other_text_is_no_base64(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        decode_base64(text)


def test_compressed_bodies() -> None:
    content = bytes(1_000_000)
    for body, encoding in (
        (gzip.compress(content), "gzip"),
        (zlib.compress(content), "deflate"),
        (content, "identity"),
    ):
        assert decompress(body, encoding, 1_000_000) == content
    with pytest.raises(HTTPException, match="413: expected at most 999,999 bytes"):
        decompress(gzip.compress(content), "gzip", 999_999)
    with pytest.raises(HTTPException, match="400: Content-Encoding: expected a whole body"):
        decompress(gzip.compress(content)[:-1], "gzip", 1_000_000)


@pytest.mark.parametrize(
    "content",
    [
        b"[" + b"[]," * 600_000 + b"1]",
        b"[" + b'"",' * 200_000 + b"1]",
        b"[" + b"1," * 4_000_001 + b"1]",
        b"[" + b"null," * 100_001 + b"1]",
        b"[" + b"true," * 100_001 + b"1]",
        b"[" + b"false," * 100_001 + b"1]",
        b'["' + b"\\n" * 2_000_001 + b'"]',
        b"[NaN]",
        b"[" * 100_000,
        b'{"a": 1, "a": 2}',
        "[1]".encode("utf-16-le") + b"\xff",
    ],
)
def test_json_that_would_hold_the_interpreter_is_refused(content: bytes) -> None:
    with pytest.raises((ValueError, RecursionError)):
        parse_json(content)


@pytest.mark.parametrize("position", [*range(262_138, 262_146), 0])
def test_texts_across_pieces_count_once(position: int) -> None:
    """The limit holds wherever the constants are in a body that is counted in pieces of 262,144 bytes."""
    most = b"null," * 99_999
    content = b"[" + b" " * position + most
    assert parse_json(content + b"null]") == [None] * 100_000
    with pytest.raises(ValueError, match="expected at most 100,000 of null"):
        parse_json(content + b"null,null]")

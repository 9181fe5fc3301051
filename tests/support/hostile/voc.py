"""Files of the VOC format that no dataset can contain, and lists and masks beside them."""

from collections.abc import Iterator

from support.hostile.case import LONG, MASK, PNG, BadFile, noise, png, png_of, zeros

_COMMAND = "data convert voc:d@train --to coco --out out"
_OBJECT = "<object><name>cat</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox></object>"
_LAUGHS = "".join(f'<!ENTITY l{n} "' + f"&l{n - 1};" * 10 + '">' for n in range(1, 10))
_BASE: dict[str, bytes | str] = {
    "d/JPEGImages/a.png": PNG,
    "d/ImageSets/Main/train.txt": "a\n",
    "d/Annotations/a.xml": f"<annotation>{_OBJECT}</annotation>",
}


def _box(**values: str) -> str:
    """An object with these coordinates instead of its own."""
    corners = {"xmin": "1", "ymin": "1", "xmax": "5", "ymax": "5"} | values
    tags = "".join(f"<{name}>{value}</{name}>" for name, value in corners.items() if value != "-")
    return f"<annotation><object><name>cat</name><bndbox>{tags}</bndbox></object></annotation>"


_NUMBERS = "a.xml: object 1 ('cat'): expected numbers for xmin ymin xmax ymax"
_PIXELS = "a.xml: object 1 ('cat'): expected pixel coordinates"
_REFUSED = "a.xml: entities and DTDs are refused"
_XML: tuple[tuple[str, bytes | str, str], ...] = (
    ("empty", "", "a.xml: not well-formed XML"),
    ("cut", f"<annotation>{_OBJECT}"[:-20], "a.xml: not well-formed XML"),
    ("text", "cat 1 1 5 5", "a.xml: not well-formed XML"),
    ("json", '{"a": 1}', "a.xml: not well-formed XML"),
    ("binary", bytes(range(256)), "a.xml: not well-formed XML"),
    ("entities that multiply", f'<!DOCTYPE a [<!ENTITY l0 "ha">{_LAUGHS}]><annotation>&l9;</annotation>', _REFUSED),
    ("one long entity", f'<!DOCTYPE a [<!ENTITY e "{LONG}">]><annotation>&e;&e;&e;</annotation>', _REFUSED),
    (
        "entity of a file",
        '<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]><annotation>&e;</annotation>',
        _REFUSED,
    ),
    (
        "entity of a host",
        '<!DOCTYPE a [<!ENTITY e SYSTEM "http://127.0.0.1:9/">]><annotation>&e;</annotation>',
        _REFUSED,
    ),
    ("external dtd", '<!DOCTYPE a SYSTEM "http://127.0.0.1:9/x.dtd"><annotation/>', _REFUSED),
    ("parameter entity", '<!DOCTYPE a [<!ENTITY % p SYSTEM "file:///dev/zero"> %p;]><annotation/>', _REFUSED),
    ("unknown entity", "<annotation>&nbsp;</annotation>", "a.xml: not well-formed XML"),
    ("unknown encoding", '<?xml version="1.0" encoding="klingon"?><annotation/>', "a.xml: not well-formed XML"),
    ("codec that is no encoding", '<?xml version="1.0" encoding="zlib"?><annotation/>', "a.xml: not well-formed XML"),
    ("codec of quadratic time", '<?xml version="1.0" encoding="punycode"?>' + "-a" * 99_999, "a.xml: not well-formed"),
    (
        "other bytes than its encoding",
        b'<?xml version="1.0" encoding="utf-8"?><annotation>\xff</annotation>',
        "a.xml: not",
    ),
    ("deep nesting", "<a>" * 200_000, "a.xml: not well-formed XML"),
    ("oversized", "<annotation>" + " " * (4 << 20) + "</annotation>", "a.xml: expected at most 4,194,304 bytes"),
    ("object without a name", "<annotation><object/></annotation>", "a.xml: object 1: expected a name, got none"),
    ("object without a box", "<annotation><object><name>cat</name></object></annotation>", _NUMBERS),
    ("box without xmax", _box(xmax="-"), _NUMBERS),
    ("empty coordinate", _box(ymin=""), _NUMBERS),
    ("text as coordinate", _box(xmin="left"), _NUMBERS),
    ("NaN", _box(xmin="nan"), _PIXELS),
    ("infinity", _box(xmax="inf"), _PIXELS),
    ("1e308", _box(xmax="1e308"), _PIXELS),
    (
        "long name",
        f"<annotation><object><name>{LONG}</name>{_OBJECT[24:]}</annotation>",
        "expected class names of 1 to 200",
    ),
    (
        "name that changes the terminal",
        f"<annotation>{_OBJECT.replace('cat', 'c&#x9b;31mat')}</annotation>",
        "printable",
    ),
)
_MASKS: tuple[tuple[str, bytes, str], ...] = (
    ("empty", b"", "a.png: expected an image, got an empty file"),
    ("text", b"mask", "a.png: expected a PNG mask, got another file"),
    ("jpeg", noise("JPEG"), "a.png: expected a PNG mask, got another file"),
    ("colors", png(color=(1, 2, 3)), "a.png: expected a palette or grayscale mask of class indices, got mode RGB"),
    ("unknown value", png(mode="L", color=77), "a.png: expected mask values below"),
    ("16-bit value", png(mode="I;16", color=40_000), "a.png: expected mask values"),
    ("cut", MASK[:-20], "a.png: mask cannot be decoded"),
    ("bomb", png_of(40_000, 40_000, pixels=zeros(1 << 20)), "a.png: expected at most 89,478,485 pixels"),
    ("large", png_of(10_000, 9_000, pixels=zeros(1 << 20)), "a.png: expected at most 89,478,485 pixels"),
)
_LISTS: tuple[tuple[str, bytes | str, str], ...] = (
    ("empty", "", "train.txt: expected one image id per line"),
    ("binary", b"\xff\xfe\x00", "train.txt: expected UTF-8 text"),
    ("null character", "a\0b\n", "train.txt: expected UTF-8 text, got a null character"),
    ("missing image", "zzz\n", "zzz.xml: expected a file"),
    ("path out of the folder", "../../../../etc/passwd\n", "passwd.xml: expected a file"),
    ("long name", LONG, "cannot be read"),
)


def voc_cases() -> Iterator[BadFile]:
    """XML files, masks, lists and class names."""
    for name, content, line in _XML:
        yield BadFile(f"voc xml: {name}", _COMMAND, _BASE | {"d/Annotations/a.xml": content}, line)
    for name, mask, line in _MASKS:
        files = _BASE | {"d/SegmentationClass/a.png": mask, "d/classes.txt": "cat\n"}
        yield BadFile(f"voc mask: {name}", "data convert voc:d@train --to folder --out out --lossy", files, line)
    for name, content, line in _LISTS:
        yield BadFile(f"voc list: {name}", _COMMAND, _BASE | {"d/ImageSets/Main/train.txt": content}, line)
    for name, content, line in (
        ("empty", "", "classes.txt: expected one class name per line"),
        ("duplicates", "cat\ncat\n", "classes.txt: expected unique class names"),
        ("binary", b"\x80\x81", "classes.txt: expected UTF-8 text"),
        ("unknown name in an object", "dog\n", "a.xml: expected classes of d/classes.txt, got 'cat'"),
        ("escape sequence", "cat\n\x1b[31mred\n", "printable characters"),
        ("oversized", "cat\n" * 300_000, "classes.txt: expected at most 1,048,576 bytes"),
    ):
        yield BadFile(f"voc classes: {name}", _COMMAND, _BASE | {"d/classes.txt": content}, line)
    yield BadFile("voc: no split", "data convert voc:d@val --to coco --out out", _BASE, "there is no split 'val'")
    yield BadFile(
        "voc: no folder", "data convert voc:e@val --to coco --out out", _BASE, "voc:e@val: expected the folder e"
    )
    yield BadFile(
        "voc table of colors: text",
        "data convert voc:d@train --to folder --out out --lossy",
        _BASE | {"d/SegmentationClass/a.png": MASK, "d/labelmap.txt": "cat:red,green,blue::\n"},
        "labelmap.txt:1: expected a color as three numbers",
    )

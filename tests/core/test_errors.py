import pickle

import pytest

from blitznet.core.errors import BlitzNetError, DataError, MissingExtra, ModelError, UsageError, one_line, shown


@pytest.mark.parametrize("kind", [DataError, ModelError, UsageError, MissingExtra])
def test_errors_have_one_base(kind: type[Exception]) -> None:
    assert issubclass(kind, BlitzNetError)


def test_missing_extra_names_the_command() -> None:
    assert str(MissingExtra("export to ONNX", "train")) == "export to ONNX needs `pip install 'blitznet[train]'`"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.png: expected an image", "a.png: expected an image"),
        ("a\nb\r\tc", "a\\nb\\r\\tc"),
        ("\x1b[31mred\x9b0m", "\\x1b[31mred\\x9b0m"),
        ("half \ud800", "half \\ud800"),
        ("right to left \u202e", "right to left \\u202e"),
        ("Straße 犬", "Straße 犬"),
    ],
)
def test_messages_are_one_printable_line(text: str, expected: str) -> None:
    assert str(DataError(text)) == one_line(text) == expected


def test_long_messages_are_shortened_in_the_middle() -> None:
    text = str(DataError("start " + "x" * 1_000_000 + " end"))
    assert len(text) < 1_100
    assert text.startswith("start x")
    assert text.endswith("x end")


@pytest.mark.parametrize(
    "value",
    ["x" * 1_000_000, list(range(1_000_000)), {"a": [[[[1]]]]}, 10**400, 1 << 100_000, None, 2.5, b"x" * 999],
    ids=["text", "list", "nested", "digits", "bits", "none", "float", "bytes"],
)
def test_values_are_shown_in_few_characters(value: object) -> None:
    assert 0 < len(shown(value)) <= 63


def test_deeply_nested_values_are_shown() -> None:
    value: list[object] = []
    for _ in range(100_000):
        value = [value]
    assert shown(value) == "[[[...]]]"


@pytest.mark.parametrize(
    "error", [BlitzNetError("a"), DataError("b"), MissingExtra("`blitznet train`", "train")], ids=repr
)
def test_errors_are_sent_to_processes(error: BlitzNetError) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy)) == (type(error), str(error))

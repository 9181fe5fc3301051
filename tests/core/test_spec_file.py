from dataclasses import replace

import pytest

from blitznet.core.errors import ModelError
from blitznet.core.models import blitznet300_lite
from blitznet.core.spec import METADATA_KEY, VERSION, read_spec

SPEC = blitznet300_lite()


def test_what_was_written_is_read() -> None:
    assert read_spec(SPEC.to_json(), source="a.onnx") == SPEC
    assert METADATA_KEY == "blitznet"
    assert SPEC.version == VERSION


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            None,
            "a.onnx: not a blitznet model, its metadata has no 'blitznet'; make one with `blitznet train` or `export`",
        ),
        ("{}", "a.onnx: this is not a contract of a blitznet model ('anchors')"),
        (
            replace(SPEC, version=2).to_json(),
            "a.onnx: expected a contract of version 1, got 2; update blitznet",
        ),
    ],
)
def test_contracts_that_cannot_be_read(text: str | None, message: str) -> None:
    with pytest.raises(ModelError) as raised:
        read_spec(text, source="a.onnx")
    assert str(raised.value) == message

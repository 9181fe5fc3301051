import pytest

from blitznet.core.errors import BlitzNetError, DataError, MissingExtra, ModelError, UsageError


@pytest.mark.parametrize("kind", [DataError, ModelError, UsageError, MissingExtra])
def test_one_tree(kind: type[Exception]) -> None:
    assert issubclass(kind, BlitzNetError)


def test_a_missing_extra_says_what_to_install() -> None:
    assert str(MissingExtra("export to ONNX", "train")) == "export to ONNX needs `pip install 'blitznet[train]'`"

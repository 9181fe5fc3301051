import pytest

from blitznet.core.errors import BlitzNetError, DataError, MissingExtra, ModelError, UsageError


@pytest.mark.parametrize("kind", [DataError, ModelError, UsageError, MissingExtra])
def test_errors_have_one_base(kind: type[Exception]) -> None:
    assert issubclass(kind, BlitzNetError)


def test_missing_extra_names_the_command() -> None:
    assert str(MissingExtra("export to ONNX", "train")) == "export to ONNX needs `pip install 'blitznet[train]'`"

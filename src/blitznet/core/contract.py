"""The contract as it stands in a file: one key, one version, one way to read it, whatever the file's kind."""

from blitznet.core.errors import ModelError
from blitznet.core.spec import Spec

KEY = "blitznet"
"""the contract's key in a file's metadata"""
VERSION = 1
"""of contracts that this code reads"""


def read_contract(text: str | None, *, source: str) -> Spec:
    """The contract found in a file's metadata; None if there was none. `source` is named in errors.

    Raises ModelError where the file has no contract, one that cannot be read, or one of another version.
    """
    if text is None:
        raise ModelError(
            f"{source}: not a blitznet model, its metadata has no '{KEY}'; make one with `blitznet train` or `export`"
        )
    try:
        spec = Spec.from_json(text)
    except ModelError as error:
        raise ModelError(f"{source}: {error}") from error
    if spec.version != VERSION:
        raise ModelError(f"{source}: wanted a contract of version {VERSION}, came {spec.version}; update blitznet")
    return spec

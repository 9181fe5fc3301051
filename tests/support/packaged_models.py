"""A folder of files in the place of the published ones."""

from pathlib import Path

import pytest

from blitznet.core.packaged_files import HASHES, hash_list


def replace_packaged(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Publish the model files of a folder instead of those of the package; call it again after the folder changed."""
    (folder / HASHES).write_text(hash_list([*folder.glob("*.onnx"), *folder.glob("*.safetensors")]))
    patch.setattr("blitznet.core.packaged_files.WEIGHTS", folder)
    patch.setattr("blitznet.core.packaged_files.CLONE", folder)

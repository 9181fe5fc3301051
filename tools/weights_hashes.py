"""Write the list of hashes of the published model files: `python tools/weights_hashes.py [--from FOLDER]`.

With `--from`, files of the folder that have a published name are copied over the published ones first.
Run it whenever a published file changes: `tests/core/test_packaged_files.py` fails until the list is right.
"""

import argparse
import shutil
from pathlib import Path

from blitznet.core.files import atomic_write
from blitznet.core.packaged_files import CLONE, HASHES, WEIGHTS, hash_list


def main(arguments: list[str] | None = None, *, inference: Path = WEIGHTS, training: Path = CLONE) -> None:
    """Copy files if there is a folder to copy from, and write the list."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="source", type=Path, help="folder of files to publish. Default: none")
    source: Path | None = parser.parse_args(arguments).source
    for file in published(inference, training):
        if source is not None and (source / file.name).is_file():
            shutil.copyfile(source / file.name, file)
    atomic_write(inference / HASHES, hash_list(published(inference, training)).encode())


def published(inference: Path, training: Path) -> list[Path]:
    """The .onnx files of one folder and the .safetensors files of the other."""
    return [*inference.glob("*.onnx"), *training.glob("*.safetensors")]


if __name__ == "__main__":
    main()

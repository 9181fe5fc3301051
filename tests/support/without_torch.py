"""A fresh Python in which torch and its companions cannot be imported."""

import subprocess
import sys

_BLOCK = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "onnx", "onnxscript", "safetensors"}:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)

sys.meta_path.insert(0, Blocked())
"""


def python(code: str, *arguments: str) -> str:
    """What it prints."""
    done = subprocess.run(
        [sys.executable, "-c", _BLOCK + code, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()

"""Makes `demo/build.py`, a script, importable."""

import sys
from pathlib import Path

FOLDER = str(Path(__file__).parents[2] / "demo")
if FOLDER not in sys.path:
    sys.path.insert(0, FOLDER)

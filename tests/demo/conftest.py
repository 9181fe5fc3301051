"""What builds the demo is a script: its folder is where it is found, here as well."""

import sys
from pathlib import Path

FOLDER = str(Path(__file__).parents[2] / "demo")
if FOLDER not in sys.path:
    sys.path.insert(0, FOLDER)

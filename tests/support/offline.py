"""A Python process in which every use of the network is an error that is also counted."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

_GUARD = """
import sys

USED = []

def guard(event, arguments):
    if event in {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "urllib.Request"}:
        USED.append((event, str(arguments)))
        raise OSError("the network is blocked")

sys.addaudithook(guard)
"""


def run_offline(
    python: str | Path, code: str, *arguments: str, cwd: Path | None = None, prefix: Sequence[str] = ()
) -> str:
    """Output of the code; a use of the network fails the test, even one whose error the code suppresses."""
    script = f"{_GUARD}\n{code}\nassert not USED, USED\n"
    done = subprocess.run(
        [*prefix, python, "-c", script, *arguments], capture_output=True, text=True, check=False, cwd=cwd
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


COMMAND = """
from blitznet.cli.main import main
assert main(sys.argv[1:]) == 0
"""
"""code that runs the command of the arguments"""

"""Blocks of commands and Python on Markdown pages, and a folder with what they speak of, so that they run."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from blitznet.cli.main import main
from support import synthetic_data
from support.videos import write_film

ROOT = Path(__file__).parents[2]
ADDRESS = "127.0.0.1:8000"
"""of the server, as pages write it; in tests it is any that is free"""
SHORTER = ("--steps", "2", "--batch", "2", "--workers", "0")
"""added to training, which pages let run for minutes"""
_FENCE = re.compile(r"^```([\w{}-]*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """What stands between two fences."""

    kind: str
    text: str


def blocks(page: Path, *kinds: str) -> list[Block]:
    """The blocks of a page, in order; of these kinds, if any are named."""
    found = [Block(*parts) for parts in _FENCE.findall(page.read_text())]
    return [block for block in found if not kinds or block.kind in kinds]


def commands(page: Path) -> list[list[str]]:
    """The words of every command of a page, without comments."""
    lines = [line for block in blocks(page, "console") for line in block.text.splitlines()]
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def links(page: Path) -> list[str]:
    """Where the links and pictures of a page lead, inside the repository, without what follows #."""
    text = _FENCE.sub("", page.read_text())
    found = re.findall(r"\]\(([^)\s#]+)[^)]*\)", text)
    return [link for link in found if "://" not in link]


def material(names: Sequence[str] = synthetic_data.NAMES) -> None:
    """A image, a film, and drawn sets with these three names for their shapes, in the working folder."""
    Image.fromarray(np.full((60, 80, 3), 90, np.uint8)).save("image.jpg")
    write_film(Path("clip.mp4"), frames=5, sound="aac")
    drawings = synthetic_data.draw(8)
    synthetic_data.write_voc(Path("mydata"), drawings[:5], "train", names=names)
    synthetic_data.write_voc(Path("mydata"), drawings[5:], "val", names=names)


def animals() -> None:
    """Sets of which one has boxes only and one masks only, in the working folder."""
    drawings = synthetic_data.draw(10)
    synthetic_data.write_coco(Path("animals/boxes"), drawings[:5], "train", outlines=False)
    synthetic_data.write_folder(Path("animals/masks"), drawings[5:])


@contextmanager
def serving(words: Sequence[str]) -> Iterator[str]:
    """What the command serves, at its host and port, which is any that is free."""
    words = [sys.executable, "-m", *words, "--port", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = re.search(r"http://(\S+)", process.stdout.readline())
        assert address is not None
        try:
            yield address.group(1)
        finally:
            process.terminate()


def curl(words: Sequence[str], address: str) -> bytes:
    """What curl is answered by the server at `address`; what the server refuses is an error."""
    asked = [word.replace(ADDRESS, address) for word in words]
    return subprocess.run([*asked, "--fail"], capture_output=True, check=True).stdout


def run_page(page: Path) -> None:
    """Run every command and every snippet of a page, in order, in the working folder.

    `blitznet serve` goes on until the next one or the page's end; a page's snippets share no names.
    """
    address = ADDRESS
    with ExitStack() as servers:
        for block in blocks(page, "console", "python"):
            if block.kind == "python":
                exec(compile(block.text.replace(ADDRESS, address), page.name, "exec"), {})
                continue
            for line in block.text.splitlines():
                words = shlex.split(line, comments=True)
                if words[:2] == ["blitznet", "serve"]:
                    servers.close()
                    address = servers.enter_context(serving(words))
                elif words and words[0] == "curl":
                    curl(words, address)
                elif words:
                    run(words)


def run(words: Sequence[str], *more: str) -> None:
    """Run a command of ours in this process, a training only so far that it is known to run."""
    assert words[0] == "blitznet", words
    shorter = (*SHORTER, *more) if words[1] == "train" else ()
    assert main([*words[1:], *shorter]) == 0, words

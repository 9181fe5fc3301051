"""Code blocks of Markdown pages, the files they need, and functions that run them."""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from blitznet.cli.main import main
from blitznet.core.packaged_files import WEIGHTS
from support import synthetic_data
from support.videos import write_video

ROOT = Path(__file__).parents[2]
ADDRESS = "127.0.0.1:8000"
"""address of the server on the pages; tests replace it by one with a free port"""
SHORT_RUN = ("--steps", "2", "--batch", "2", "--workers", "0")
"""flags that shorten training"""
SAMPLES = WEIGHTS / "samples"
SAMPLE_BOXES = {
    "astronaut": ("person", (17, 4, 354, 506)),
    "cat": ("cat", (3, 2, 403, 300)),
    "photographer": ("person", (5, 40, 305, 508)),
}
"""class name and box (VOC: 1-based, inclusive) of the object in each sample image"""
CORNERS = ("xmin", "ymin", "xmax", "ymax")
_FENCE = re.compile(r"^```([\w{}-]*)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_MARKDOWN_LINK = re.compile(r"\]\(([^)\s#]+)[^)]*\)")
_HTML_LINK = re.compile(r"(?:src|srcset|href)=\"([^\"#]+)[^\"]*\"")


class Block(NamedTuple):
    """A fenced block."""

    kind: str
    text: str


def blocks(page: Path, *kinds: str) -> list[Block]:
    """Fenced blocks of a page in order; only those of `kinds`, if there are any."""
    fenced = [Block(*parts) for parts in _FENCE.findall(page.read_text())]
    return [block for block in fenced if not kinds or block.kind in kinds]


def commands(page: Path) -> list[list[str]]:
    """Words of every command of a page, without comments."""
    lines = [line for block in blocks(page, "console") for line in block.text.splitlines()]
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def links(page: Path) -> list[str]:
    """Targets of links and images inside the repository, without anchors."""
    text = _FENCE.sub("", page.read_text())
    targets = [*_MARKDOWN_LINK.findall(text), *_HTML_LINK.findall(text)]
    return [target for target in targets if "://" not in target]


def write_material(class_names: Sequence[str] = synthetic_data.NAMES) -> None:
    """Write an image, a video and VOC sets into the working folder, with these names for the three shapes."""
    Image.fromarray(np.full((60, 80, 3), 90, np.uint8)).save("image.jpg")
    write_video(Path("clip.mp4"), frames=5, audio="aac")
    drawings = synthetic_data.draw(8)
    synthetic_data.write_voc(Path("mydata"), drawings[:5], "train", names=class_names)
    synthetic_data.write_voc(Path("mydata"), drawings[5:], "val", names=class_names)


def write_labeled_samples() -> None:
    """Write the sample images of the package as a VOC set into the working folder, for the default model to detect."""
    root = Path("labeled")
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for stem, (class_name, box) in SAMPLE_BOXES.items():
        with Image.open(SAMPLES / f"{stem}.jpg") as image:
            width, height = image.size
        shutil.copy(SAMPLES / f"{stem}.jpg", root / "JPEGImages")
        corners = "".join(f"<{name}>{value}</{name}>" for name, value in zip(CORNERS, box, strict=True))
        (root / "Annotations" / f"{stem}.xml").write_text(
            f"<annotation><size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
            f"<object><name>{class_name}</name><bndbox>{corners}</bndbox></object></annotation>"
        )
    (root / "ImageSets" / "Main" / "val.txt").write_text("\n".join(SAMPLE_BOXES))


def write_animals() -> None:
    """Write a set with boxes only and a set with masks only into the working folder."""
    drawings = synthetic_data.draw(10)
    synthetic_data.write_coco(Path("animals/boxes"), drawings[:5], "train", outlines=False)
    synthetic_data.write_folder(Path("animals/masks"), drawings[5:])


@contextmanager
def running_server(words: Sequence[str]) -> Iterator[str]:
    """Run a `blitznet serve` command on a free port; yields its address, host:port."""
    words = [sys.executable, "-m", *words, "--port", "0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = re.search(r"http://(\S+)", process.stdout.readline())
        assert address is not None
        try:
            yield address.group(1)
        finally:
            process.terminate()


def run_curl(words: Sequence[str], address: str) -> bytes:
    """Run a curl command against the server at `address`; an error status raises."""
    words = [word.replace(ADDRESS, address) for word in words]
    return subprocess.run([*words, "--fail"], capture_output=True, check=True).stdout


def run_page(page: Path) -> None:
    """Run every command and snippet of a page in order, in the working folder.

    A server runs until the next `blitznet serve` or the end of the page. Snippets share no names.
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
                    address = servers.enter_context(running_server(words))
                elif words and words[0] == "curl":
                    run_curl(words, address)
                elif words:
                    run_command(words)


def run_command(words: Sequence[str], *flags: str) -> None:
    """Run a `blitznet` command in this process; training gets `flags` and runs for two steps."""
    assert words[0] == "blitznet", words
    extra = (*SHORT_RUN, *flags) if words[1] == "train" else ()
    assert main([*words[1:], *extra]) == 0, words

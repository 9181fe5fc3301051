"""The web page in axe-core: empty, with a result, and with an error."""

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("axe_playwright_python")

from blitznet.api import load
from blitznet.runtime.image_paths import SAMPLES
from support.accessibility import find_violations
from support.browser import PHONE, WIDE, browser_page
from support.servers import run_server

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address of a server with the default model."""
    with run_server(load(engine="onnxruntime")) as (_, port):
        yield f"http://127.0.0.1:{port}"


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_core_finds_nothing_on_the_page(size: tuple[int, int], dark: bool, address: str, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("not an image")
    with browser_page(size, dark=dark) as page:
        page.goto(address)
        page.wait_for_function("() => document.getElementById('model').textContent.includes('20 classes')")
        assert find_violations(page) == []
        page.set_input_files("#file", SAMPLES / "astronaut.jpg")
        page.wait_for_function("() => document.getElementById('status').textContent.includes(' ms, ')")
        assert page.locator("#table tbody tr").count() > 0
        assert find_violations(page) == []
        page.set_input_files("#file", tmp_path / "note.txt")
        page.wait_for_function("() => document.getElementById('status').classList.contains('error')")
        assert find_violations(page) == []


def test_axe_core_finds_a_fault() -> None:
    with browser_page() as page:
        page.set_content(
            "<!doctype html><html lang='en'><title>x</title><main><h1>x</h1><img src='data:,'></main></html>"
        )
        assert [violation.partition(" ")[0] for violation in find_violations(page)] == ["image-alt"]

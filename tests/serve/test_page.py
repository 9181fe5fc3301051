import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import uvicorn
from PIL import Image
from playwright.sync_api import Page

from blitznet.api import load
from blitznet.runtime.image_paths import SAMPLES
from blitznet.runtime.predictor import Predictor
from blitznet.serve.app import make_app
from support.browser import PHONE, WIDE, browser_page

CAT = SAMPLES / "cat.jpg"
ASTRONAUT = SAMPLES / "astronaut.jpg"
"""with what is seen from 0.05 on besides the one person"""


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return load(engine="onnxruntime")


@pytest.fixture(scope="module")
def address(predictor: Predictor) -> Iterator[str]:
    """A server with the default model."""
    server = uvicorn.Server(uvicorn.Config(make_app(predictor), port=0, log_level="warning", access_log=False))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(30)
    assert not thread.is_alive()


def show(page: Page, address: str, image: Path = CAT) -> None:
    page.goto(address)
    page.wait_for_function("document.getElementById('about').textContent.includes('20 classes')")
    page.set_input_files("#file", image)
    told(page, " ms, ")


def told(page: Page, text: str) -> None:
    page.wait_for_function("text => document.getElementById('status').textContent.includes(text)", arg=text)


def pixels(page: Page) -> str:
    """What the canvas shows, as text to compare."""
    return str(page.evaluate("document.getElementById('view').toDataURL()"))


def rows(page: Page) -> list[list[str]]:
    return [row.locator("td").all_inner_texts() for row in page.locator("#table tbody tr").all()]


def test_a_picture_is_seen_at_once(address: str, predictor: Predictor) -> None:
    expected = predictor(CAT, min_score=0.5)
    with browser_page() as page:
        show(page, address)
        assert [row[:2] for row in rows(page)] == [
            [expected.class_names[label], f"{score:.2f}"]
            for label, score in zip(expected.labels, expected.scores, strict=True)
        ]
        size = page.evaluate("[document.getElementById('view').height, document.getElementById('view').width]")
        assert tuple(size) == expected.size
        whole = pixels(page)
        for name in ("#boxes", "#mask"):
            page.uncheck(name)
            assert pixels(page) != whole
            page.check(name)
        assert pixels(page) == whole


def test_the_mask_is_painted_where_the_class_map_is(address: str, predictor: Predictor) -> None:
    expected = predictor(CAT)
    assert expected.class_map is not None
    with browser_page() as page:
        show(page, address)
        page.uncheck("#boxes")
        shown = np.array(page.evaluate(_PIXELS), np.uint8).reshape(*expected.size, 4)
        page.uncheck("#mask")
        plain = np.array(page.evaluate(_PIXELS), np.uint8).reshape(*expected.size, 4)
    np.testing.assert_array_equal((shown != plain).any(-1), expected.class_map > 0)


_PIXELS = """(() => {
  const view = document.getElementById('view');
  return [...view.getContext('2d').getImageData(0, 0, view.width, view.height).data];
})()"""


def test_sliders_classes_and_instances(address: str) -> None:
    with browser_page() as page:
        show(page, address, ASTRONAUT)
        before, found = pixels(page), rows(page)
        page.locator("#score").fill("0.05")
        assert len(rows(page)) > len(found)
        page.locator("#score").fill("0.5")
        assert pixels(page) == before
        page.locator("#opacity").fill("0")
        assert page.inner_text("#opacity-said") == "0 %"
        assert pixels(page) != before
        page.locator("#opacity").fill("0.45")
        page.locator("#classes label", has_text="person").locator("input").uncheck()
        assert all(row[0] != "person" for row in rows(page))
        page.locator("#classes label", has_text="person").locator("input").check()
        assert pixels(page) == before
        page.check("#instances")
        page.wait_for_function("before => document.getElementById('view').toDataURL() !== before", arg=before)
        told(page, " ms, ")


def test_what_can_be_taken_away(address: str, tmp_path: Path) -> None:
    with browser_page() as page:
        page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=address)
        show(page, address)
        with page.expect_download() as waiting:
            page.click("#save")
        waiting.value.save_as(tmp_path / "got.png")
        with Image.open(tmp_path / "got.png") as actual, Image.open(CAT) as given:
            assert actual.size == given.size
        page.click("#copy")
        told(page, "clipboard")
        copied = json.loads(page.evaluate("navigator.clipboard.readText()"))
        assert [one["label"] for one in copied["detections"]] == [row[0] for row in rows(page)]


def test_by_keyboard(address: str) -> None:
    with browser_page() as page:
        page.on("filechooser", lambda _: None)  # from now on, for a busy browser hears of `expect` after the key
        show(page, address)
        page.keyboard.press("i")
        assert page.is_checked("#instances")
        with page.expect_file_chooser():
            page.keyboard.press("o")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.matches('input, button, canvas')")


def test_what_is_no_picture_is_told(address: str, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("no picture")
    with browser_page() as page:
        page.goto(address)
        page.set_input_files("#file", tmp_path / "note.txt")
        told(page, "note.txt is no picture that this browser can show")


def test_the_camera(address: str) -> None:
    with browser_page() as page:
        page.goto(address)
        page.click("#live")
        told(page, "frames a second")
        assert page.get_attribute("#live", "aria-pressed") == "true"
        assert page.evaluate("document.getElementById('view').width") > 100
        page.click("#live")
        assert page.get_attribute("#live", "aria-pressed") == "false"


_CAMERAS = """
  const media = navigator.mediaDevices, ask = media.getUserMedia.bind(media);
  window.streams = [];
  window.gate = new Promise((open) => { window.openGate = open; });
  media.getUserMedia = async (wanted) => {
    await gate;
    const stream = await ask(wanted);
    streams.push(stream);
    return stream;
  };
"""
"""no camera answers until openGate(), and each that was opened is kept"""
_RUNNING = "streams.filter((stream) => stream.getTracks().some((track) => track.readyState === 'live')).length"


def test_of_two_presses_one_camera_is_left(address: str) -> None:
    with browser_page() as page:
        page.add_init_script(_CAMERAS)
        page.goto(address)
        page.click("#live")
        page.click("#live")
        page.evaluate("openGate()")
        told(page, "frames a second")
        assert (page.evaluate("streams.length"), page.evaluate(_RUNNING)) == (2, 1)
        page.click("#live")
        assert page.evaluate(_RUNNING) == 0


def test_a_file_comes_before_a_camera_that_still_starts(address: str) -> None:
    with browser_page() as page:
        page.add_init_script(_CAMERAS)
        page.goto(address)
        page.click("#live")
        page.set_input_files("#file", CAT)
        told(page, " ms, ")
        page.evaluate("openGate()")
        page.wait_for_function(f"streams.length === 1 && {_RUNNING} === 0", timeout=10_000)
        assert page.get_attribute("#live", "aria-pressed") == "false"


def test_a_closed_line_says_so(address: str) -> None:
    with browser_page() as page:
        page.goto(address)
        answers = page.evaluate(_CLOSED_LINE)
    assert answers == ["the server has closed the line"] * 2


_CLOSED_LINE = """(async () => {
  const line = (await import('./engine.js')).openLine({ score: 0.5 }), answers = [];
  for (let i = 0; i < 2; i++) {
    const long = new Promise((done) => setTimeout(done, 5000, 'nothing'));
    answers.push(await Promise.race([line.look('text').catch(({ message }) => message), long]));
  }
  return answers;
})()"""


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_fits_every_screen(size: tuple[int, int], dark: bool, address: str, tmp_path: Path) -> None:
    with browser_page(size, dark=dark) as page:
        show(page, address)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        box = page.locator("#view").bounding_box()
        assert box is not None
        assert box["width"] > 0.4 * size[0] or box["height"] > 0.4 * size[1]
        page.screenshot(path=tmp_path / "page.png", full_page=True)
        with Image.open(tmp_path / "page.png") as shot:
            corner = np.asarray(shot.convert("L"))[-3, 3]
        assert bool(corner < 60) is dark

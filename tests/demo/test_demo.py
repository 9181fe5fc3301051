"""The browser demo: its functions against Python's, and the whole page in a browser."""

import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, Route

from blitznet.api import load
from blitznet.core.boxes import iou
from blitznet.core.calibration import PlattScaling
from blitznet.core.image import ImageSource
from blitznet.core.rle import decode_rle
from blitznet.core.spec import PostprocessConfig
from blitznet.postprocess.decode import decode_detections
from blitznet.postprocess.result import Result
from blitznet.postprocess.upsample import upsample_argmax
from blitznet.runtime.image_paths import SAMPLES
from build import IsolatedHandler, build
from support.browser import SOFTWARE_GPU, browser_page
from support.fake_engines import ANCHORS, SPEC, random_outputs

DEMO = Path(__file__).parents[2] / "demo"

_PREDICT = """async () => {
  const engine = await import('./engine.js'), image = await (await fetch('image.png')).blob();
  return engine.predict(image, { minScore: 0.5 });
}"""


_BLOCKED_WORKER = """
  window.Worker = class {
    constructor() { setTimeout(() => this.onerror({}), 20); }
    postMessage() {}
  };
"""
"""a worker whose script cannot be loaded"""
_ERRORS = """async () => {
  const engine = await import('./engine.js'), text = (promise) => promise.catch(({ message }) => message);
  return [await text(engine.getModel()), await text(engine.predict(new Blob(), { minScore: 0.5 }))];
}"""


@contextmanager
def serve_folder(folder: Path) -> Iterator[str]:
    """The folder's address on this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(IsolatedHandler, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    """A page that can import postprocess.js."""
    shutil.copy(DEMO / "postprocess.js", tmp_path)
    (tmp_path / "index.html").write_text('<!doctype html><link rel="icon" href="data:,">')
    with serve_folder(tmp_path) as address, browser_page() as page:
        page.goto(address)
        yield page


def evaluate(page: Page, code: str, *values: Any) -> Any:
    """The value of an expression with the functions `f` of postprocess.js and the arguments `v`."""
    return page.evaluate(f"async (v) => {{ const f = await import('./postprocess.js'); return {code}; }}", list(values))


@pytest.mark.parametrize("size", [(90, 130), (64, 48), (20, 31), (300, 7)])
def test_resize_equals_pillow(size: tuple[int, int], page: Page) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    rgba = np.dstack([pixels, np.full(size, 255, np.uint8)]).ravel().tolist()
    code = "[...f.resize({ data: v[0], width: v[1], height: v[2] }, v[3])]"
    resized = np.array(evaluate(page, code, rgba, size[1], size[0], SPEC.size)).reshape(*SPEC.size, 3)
    expected = ImageSource(pixels).resize(SPEC.size)
    assert np.abs(resized - expected.astype(int)).max() <= 1
    tolerance = 0.01 if max(size) < 5 * min(size) else 0.3  # Pillow resizes the columns of narrow images first
    assert (resized != expected).mean() < tolerance


@pytest.mark.parametrize("min_score", [0.0, 0.3])
@pytest.mark.parametrize("seed", range(3))
def test_detections_equal_numpy(seed: int, min_score: float, page: Page) -> None:
    outputs = random_outputs(seed=seed)
    assert outputs.offsets is not None
    assert outputs.logits is not None
    config = PostprocessConfig(
        score_threshold=0.01, topk_candidates=20, nms_threshold=0.45, max_per_class=6, max_detections=11
    )
    spec = replace(SPEC, score_calibration=PlattScaling(0.7, -0.2), postprocess=config)
    boxes, scores, labels = decode_detections(
        outputs.offsets[0], outputs.logits[0], ANCHORS, spec, replace(config, score_threshold=max(0.01, min_score))
    )
    code = "f.decodeDetections(v[0], v[1], new Float32Array(v[2]), JSON.parse(v[3]), { width: 60, height: 40 }, v[4])"
    flat = [array.ravel().tolist() for array in (outputs.offsets[0], outputs.logits[0], ANCHORS)]
    detections = evaluate(page, code, *flat, spec.to_json(), min_score)
    assert len(boxes)
    assert [detection["class_id"] for detection in detections] == labels.tolist()
    assert [detection["class_name"] for detection in detections] == [SPEC.classes[label] for label in labels]
    np.testing.assert_allclose([detection["score"] for detection in detections], scores, atol=1e-5)
    np.testing.assert_allclose([detection["box"] for detection in detections], boxes * (60, 40, 60, 40), atol=1e-3)


@pytest.mark.parametrize("size", [(40, 60), (16, 12), (97, 33)])
def test_the_class_map_equals_numpy(size: tuple[int, int], page: Page) -> None:
    logits = np.random.default_rng(1).normal(0, 1, (5, 16, 12)).astype(np.float32)
    logits[:, 4:10, 3:9] += np.array([0, 0, 9, 0, 0], np.float32)[:, None, None]
    code = "f.upsampleArgmax(v[0], 5, [16, 12], { width: v[1], height: v[2] })"
    rle = evaluate(page, code, logits.ravel().tolist(), size[1], size[0])
    assert rle["order"] == "row-major"
    assert (decode_rle(rle) == upsample_argmax(logits, size)).mean() > 0.999
    assert len(set(rle["values"])) > 3


def test_a_worker_that_cannot_be_loaded_fails_every_request(tmp_path: Path) -> None:
    shutil.copy(DEMO / "engine.js", tmp_path)
    (tmp_path / "index.html").write_text('<!doctype html><link rel="icon" href="data:,">')
    with serve_folder(tmp_path) as address, browser_page() as page:
        page.add_init_script(_BLOCKED_WORKER)
        page.goto(address)
        assert page.evaluate(_ERRORS) == ["Cannot load worker.js; reload the page."] * 2


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built demo, with onnxruntime-web from npm."""
    if shutil.which("npm") is None:
        pytest.skip("needs npm, which installs onnxruntime-web")
    folder = tmp_path_factory.mktemp("site")
    try:
        build(folder)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"npm cannot install onnxruntime-web here ({error})")
    return folder


def wait_for_model(page: Page) -> None:
    page.wait_for_function("document.getElementById('model').textContent.includes('20 classes')", timeout=60_000)


def has_webgpu(page: Page) -> bool:
    return bool(page.evaluate("async () => Boolean(await navigator.gpu?.requestAdapter())"))


@pytest.mark.parametrize("name", ["cat", "photographer", "astronaut"])
def test_the_browser_predicts_what_python_predicts(name: str, site: Path) -> None:
    with Image.open(SAMPLES / f"{name}.jpg") as image:
        image.convert("RGB").save(site / "image.png")
    expected = load(engine="onnxruntime")(site / "image.png", min_score=0.5)
    with serve_folder(site) as address, browser_page() as page:
        page.goto(address)
        wait_for_model(page)
        result = page.evaluate(_PREDICT)
        page.set_input_files("#file", site / "image.png")
        page.wait_for_function("document.getElementById('status').textContent.includes(' ms, ')", timeout=60_000)
        assert page.locator("#table tbody tr").count() == len(result["detections"])
        assert page.is_hidden("#instances")
    require_close(result, expected)


@pytest.mark.parametrize(
    ("query", "engine"),
    [
        pytest.param("?engine=webgpu", "WebGPU", marks=pytest.mark.slow),
        ("", "WebAssembly"),
        ("?engine=wasm", "WebAssembly"),
    ],
)
def test_a_software_gpu_is_used_only_on_request(query: str, engine: str, site: Path) -> None:
    with Image.open(SAMPLES / "cat.jpg") as image:
        image.convert("RGB").save(site / "image.png")
    with serve_folder(site) as address, browser_page(gpu=SOFTWARE_GPU) as page:
        page.goto(f"{address}/{query}")
        if not has_webgpu(page):
            pytest.skip("this chromium has no software GPU")
        wait_for_model(page)
        assert page.inner_text("#model").endswith(f"20 classes, {engine}")
        result = page.evaluate(_PREDICT)
    require_close(result, load(engine="onnxruntime")(site / "image.png", min_score=0.5))


@pytest.mark.slow
def test_webassembly_replaces_a_webgpu_that_fails(site: Path) -> None:
    with serve_folder(site) as address, browser_page(gpu=SOFTWARE_GPU) as page:
        requests: list[str] = []

        def fail(route: Route) -> None:
            requests.append(route.request.url)
            route.fulfill(status=200, content_type="text/javascript", body="throw new Error('no such operator')")

        page.context.route("**/ort.webgpu.bundle.min.mjs", fail)
        page.goto(f"{address}/?engine=webgpu")
        if not has_webgpu(page):
            pytest.skip("this chromium has no software GPU")
        wait_for_model(page)
        assert page.inner_text("#model").endswith("20 classes, WebAssembly")
        assert requests


def require_close(result: dict[str, Any], expected: Result) -> None:
    """Require the same boxes from score 0.52 on with IoU >= 0.95, and 98 % of the class map.

    Detections were requested from 0.5 on; rounding may move those below 0.52 across that limit.
    """
    assert len(expected)
    for detection in result["detections"]:
        if detection["score"] >= 0.52:
            same_class = expected.boxes[expected.labels == detection["class_id"]]
            assert iou(np.array([detection["box"]], np.float32), same_class).max(initial=0) >= 0.95
    for expected_detection in expected.filter(min_score=0.52):
        boxes = [entry["box"] for entry in result["detections"] if entry["class_id"] == expected_detection.label]
        overlaps = iou(np.array([expected_detection.box], np.float32), np.array(boxes, np.float32).reshape(-1, 4))
        assert overlaps.max(initial=0) >= 0.95
    assert expected.class_map is not None
    assert (decode_rle(result["class_map"]) == expected.class_map).mean() >= 0.98

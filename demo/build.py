"""Build the web page without a server: one folder of static files that any web server can host.

`python demo/build.py --out demo/dist` needs npm, which downloads onnxruntime-web. With `--serve` it also serves the
folder. WebAssembly uses threads only if the server sends the headers that `--serve` sends.
"""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import tyro

from blitznet.api import load
from blitznet.core.anchors import feature_map_sizes, generate_anchors
from blitznet.core.models import DEFAULT
from blitznet.core.packaged_files import WEIGHTS

FOLDER = Path(__file__).parent
PAGE = FOLDER.parent / "src" / "blitznet" / "serve" / "page"
SCRIPTS = ("engine.js", "postprocess.js", "worker.js")
RUNTIME = (
    "ort.wasm.bundle.min.mjs",
    "ort-wasm-simd-threaded.mjs",
    "ort-wasm-simd-threaded.wasm",
    "ort.webgpu.bundle.min.mjs",
    "ort-wasm-simd-threaded.asyncify.mjs",
    "ort-wasm-simd-threaded.asyncify.wasm",
)
"""files of onnxruntime-web: for WebAssembly, and for WebGPU"""


@dataclass(frozen=True)
class Options:
    """Options of the build."""

    out: Path = FOLDER / "dist"
    """Folder to write. Default: demo/dist."""
    runtime: Path | None = None
    """Folder with the files of onnxruntime-web. Default: download them with npm."""
    serve: bool = False
    """Serve the folder on this machine until Ctrl-C."""
    port: int = 8080
    """Port of --serve. Default: 8080."""


class IsolatedHandler(SimpleHTTPRequestHandler):
    """Serves files with the headers that make a page cross-origin isolated, as WebAssembly threads require."""

    extensions_map = SimpleHTTPRequestHandler.extensions_map | {".mjs": "text/javascript", ".wasm": "application/wasm"}

    def end_headers(self) -> None:
        """Add the headers to every response."""
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()

    def log_message(self, *_: object) -> None:
        """Log no requests."""


def build(out: Path, runtime: Path | None = None) -> None:
    """Write the page, the model and onnxruntime-web to a folder; `runtime` is as in Options."""
    out.mkdir(parents=True, exist_ok=True)
    for path in (*PAGE.iterdir(), *(FOLDER / name for name in SCRIPTS)):  # engine.js replaces the server's
        shutil.copy(path, out / path.name)
    spec = load(WEIGHTS / f"{DEFAULT}.onnx", engine="onnxruntime").spec
    shutil.copy(WEIGHTS / f"{DEFAULT}.onnx", out / "model.onnx")
    (out / "model.json").write_text(spec.to_json())
    anchors = generate_anchors(spec.anchors, feature_map_sizes(spec.anchors, spec.size))
    (out / "anchors.bin").write_bytes(anchors.astype("<f4").tobytes())
    assert anchors.dtype == np.float32
    (out / "ort").mkdir(exist_ok=True)
    if runtime is not None:
        _copy_runtime(runtime, out)
        return
    with TemporaryDirectory() as folder:
        shutil.copy(FOLDER / "package.json", folder)
        subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund"], cwd=folder, check=True)
        _copy_runtime(Path(folder) / "node_modules" / "onnxruntime-web" / "dist", out)


def _copy_runtime(runtime: Path, out: Path) -> None:
    for name in RUNTIME:
        shutil.copy(runtime / name, out / "ort" / name)


def main(options: Options) -> None:
    """Build, and serve with --serve."""
    if options.runtime is None and shutil.which("npm") is None:
        print(
            "demo: npm is not installed, which downloads onnxruntime-web; install it, or name a folder with --runtime",
            file=sys.stderr,
        )
        sys.exit(2)
    build(options.out, options.runtime)
    print(f"demo: {options.out}")
    if options.serve:
        handler = partial(IsolatedHandler, directory=options.out)
        with ThreadingHTTPServer(("127.0.0.1", options.port), handler) as server:
            print(f"demo: http://127.0.0.1:{server.server_port}")
            server.serve_forever()


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))

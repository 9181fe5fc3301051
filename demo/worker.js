// The network, in a thread of its own: onnxruntime-web, on WebGPU where there is one, else in WebAssembly.
import { classMap, detections, resized } from "./finish.js";

const ready = begin();

async function begin() {
  const [spec, anchors, model] = await Promise.all([
    fetch("model.json").then((answer) => answer.json()),
    fetch("anchors.bin").then((answer) => answer.arrayBuffer()).then((content) => new Float32Array(content)),
    fetch("model.onnx").then((answer) => answer.arrayBuffer()),
  ]);
  const gpu = Boolean(await self.navigator.gpu?.requestAdapter().catch(() => null));
  const ort = await import(gpu ? "./ort/ort.webgpu.bundle.min.mjs" : "./ort/ort.wasm.bundle.min.mjs");
  ort.env.wasm.wasmPaths = new URL("./ort/", self.location.href).href;
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(4, self.navigator.hardwareConcurrency) : 1;
  ort.env.logLevel = "error";
  const session = await ort.InferenceSession.create(model, {
    executionProviders: gpu ? ["webgpu", "wasm"] : ["wasm"],
    graphOptimizationLevel: "all",
    logSeverityLevel: 3,
  });
  return { ort, spec, anchors, session, about: { name: spec.name, classes: spec.classes, panoptic: false } };
}

async function look({ blob, score }) {
  const { ort, spec, anchors, session } = await ready;
  const picture = await createImageBitmap(blob), { width, height } = picture;
  const canvas = new OffscreenCanvas(width, height), pen = canvas.getContext("2d", { willReadFrequently: true });
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, width, height);
  pen.drawImage(picture, 0, 0);
  const fed = resized(pen.getImageData(0, 0, width, height), spec.size);
  const answer = await session.run({ images: new ort.Tensor("uint8", fed, [1, ...spec.size, 3]) });
  const map = answer.class_map, photo = { width, height };
  return {
    ...photo,
    names: spec.classes,
    detections: detections(answer.offsets.data, answer.logits.data, anchors, spec, photo, score),
    class_map: map && classMap(map.data, map.dims[1], map.dims.slice(2), photo),
  };
}

self.onmessage = async ({ data: { number, asked } }) => {
  try {
    const answer = asked ? await look(asked) : (await ready).about;
    self.postMessage({ number, answer });
  } catch (error) {
    self.postMessage({ number, error: String(error.message ?? error) });
  }
};

// The web page: draws boxes, class map and instances on an image or camera frames. engine.js runs the network.
import * as engine from "./engine.js";

const element = (id) => document.getElementById(id);
const canvas = element("canvas"), context = canvas.getContext("2d");
const LOWEST_SCORE = 0.05;  // of requested detections; the slider filters them without another request

const state = {
  image: null, blob: null, result: null, hiddenClasses: new Set(),
  stream: null,  // the open camera stream
  requestCount: 0, cameraStarts: 0,  // to ignore results and cameras that are no longer wanted
};

// ---- colors: the same as drawing/annotate.py

function classColor(classId) {
  const hue = (0.02 + classId * 0.618034) % 1, [saturation, value] = [[0.85, 1], [0.6, 1], [0.9, 0.8]][classId % 3];
  const channel = (n) => {
    const k = (n + hue * 6) % 6;
    return value - value * saturation * Math.max(0, Math.min(k, 4 - k, 1));
  };
  const rgb = [channel(5), channel(3), channel(1)], luma = 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2];
  const lightening = luma < 0.42 ? (0.42 - luma) / (1 - luma) : 0;
  return rgb.map((c) => Math.round(255 * (c + (1 - c) * lightening)));
}
const cssColor = (rgb) => `rgb(${rgb.join(" ")})`;
const isBright = (rgb) => 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2] > 128;

// ---- drawing

const minScore = () => Number(element("min-score").value);
const showsInstances = () => element("instances").checked;
const visibleDetections = () =>
  state.result.detections.filter((d) => d.score >= minScore() && !state.hiddenClasses.has(d.class_name));

function decodeRle({ size: [height, width], counts, values }) {
  const labels = new Uint16Array(height * width);
  let start = 0;
  counts.forEach((count, i) => { labels.fill(values[i], start, start += count); });
  return labels;
}

// The run-length encoded map to draw, and the color of each of its values; values without a color are not drawn.
function mapAndColors() {
  const { class_names: names, class_map: classMap, panoptic } = state.result, colors = new Map();
  if (showsInstances() && panoptic) {
    for (const { id, class_name: name } of panoptic.segments_info) {
      if (!state.hiddenClasses.has(name)) colors.set(id, classColor(id * 7 + 3));
    }
    return [panoptic.segmentation, colors];
  }
  names.forEach((name, classId) => { if (!state.hiddenClasses.has(name)) colors.set(classId + 1, classColor(classId)); });
  return [classMap, colors];
}

function drawMap() {
  const { width, height } = state.result, [rle, colors] = mapAndColors();
  if (!rle) return;
  const labels = decodeRle(rle), opacity = Number(element("opacity").value);
  const layer = new OffscreenCanvas(width, height), imageData = new ImageData(width, height);
  for (let i = 0; i < labels.length; i++) {
    const rgb = colors.get(labels[i]);
    if (!rgb) continue;
    const x = i % width, label = labels[i];
    const isBorder = (x > 0 && labels[i - 1] !== label) || (x < width - 1 && labels[i + 1] !== label) ||
      (i >= width && labels[i - width] !== label) || (i + width < labels.length && labels[i + width] !== label);
    imageData.data.set([...rgb, 255 * (isBorder && opacity > 0 ? 1 : opacity)], 4 * i);
  }
  layer.getContext("2d").putImageData(imageData, 0, 0);
  context.drawImage(layer, 0, 0);
}

function drawBoxes() {
  const shortSide = Math.min(canvas.width, canvas.height);
  const lineWidth = Math.max(shortSide < 150 ? 1 : 2, Math.round(1 + shortSide / 360));
  const fontSize = Math.round(8 + shortSide / 60);
  context.font = `600 ${fontSize}px system-ui, sans-serif`;
  context.textBaseline = "top";
  for (const { class_id: classId, class_name: name, score, box: [x1, y1, x2, y2] } of visibleDetections().reverse()) {
    const rgb = classColor(classId);
    for (const [width, color] of [[lineWidth + 2, "#000"], [lineWidth, cssColor(rgb)]]) {
      context.lineWidth = width; context.strokeStyle = color; context.strokeRect(x1, y1, x2 - x1, y2 - y1);
    }
    const text = `${name} ${score.toFixed(2)}`, width = context.measureText(text).width + 8, height = fontSize + 6;
    const x = Math.max(0, Math.min(x1, canvas.width - width)), y = y1 >= height ? y1 - height : y1;
    context.fillStyle = cssColor(rgb); context.fillRect(x, y, width, height);
    context.fillStyle = isBright(rgb) ? "#000" : "#fff"; context.fillText(text, x + 4, y + 3);
  }
}

function draw() {
  if (!state.result) return;
  const { width, height } = state.result;
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  context.drawImage(state.image, 0, 0, width, height);
  if (element("class-map").checked) drawMap();
  if (element("boxes").checked) drawBoxes();
  fillTable();
}

function fillTable() {
  const rows = visibleDetections().map(({ class_name: name, score, box: [x1, y1, x2, y2] }) => {
    const row = document.createElement("tr");
    const cells = [name, score.toFixed(2), [x1, y1, x2 - x1, y2 - y1].map(Math.round).join(", ")];
    row.append(...cells.map((text) => Object.assign(document.createElement("td"), { textContent: text })));
    return row;
  });
  element("table").hidden = !rows.length;
  element("table").tBodies[0].replaceChildren(...rows);
}

// A checkbox for each class of the image, and for the hidden ones.
function fillClasses() {
  const { class_names: names, class_map: classMap, detections } = state.result;
  const present = new Set(state.hiddenClasses);
  for (const { class_name: name, score } of detections) if (score >= minScore()) present.add(name);
  for (const value of classMap?.values ?? []) if (value > 0 && value <= names.length) present.add(names[value - 1]);
  const labels = names.filter((name) => present.has(name)).map((name) => {
    const checked = !state.hiddenClasses.has(name);
    const checkbox = Object.assign(document.createElement("input"), { type: "checkbox", checked });
    checkbox.onchange = () => { state.hiddenClasses[checkbox.checked ? "delete" : "add"](name); draw(); };
    const chip = Object.assign(document.createElement("span"), { className: "chip" });
    chip.style.background = cssColor(classColor(names.indexOf(name)));
    const label = document.createElement("label");
    label.append(checkbox, chip, name);
    return label;
  });
  element("classes").hidden = !labels.length;
  element("classes").replaceChildren(element("classes").firstElementChild, ...labels);
}

function setStatus(text, isError = false) {
  element("status").textContent = text;
  element("status").classList.toggle("error", isError);
}

// ---- prediction

const requestOptions = () => ({ minScore: showsInstances() ? minScore() : LOWEST_SCORE, panoptic: showsInstances() });

async function predict(blob, image) {
  const number = ++state.requestCount;
  setStatus("Predicting ...");
  try {
    const start = performance.now(), result = await engine.predict(blob, requestOptions());
    if (number !== state.requestCount) return;  // a newer request replaced it
    show(result, image, blob);
    const count = visibleDetections().length;
    setStatus(`${count} object${count === 1 ? "" : "s"} in ${Math.round(performance.now() - start)} ms, ` +
      `${result.width} x ${result.height} pixels`);
  } catch (error) {
    if (number === state.requestCount) setStatus(String(error.message ?? error), true);
  }
}

function show(result, image, blob) {
  Object.assign(state, { result, image, blob });
  element("drop").hidden = true;
  canvas.hidden = false;
  element("save").disabled = element("copy").disabled = false;
  fillClasses();
  draw();
}

async function openFile(file) {
  if (!file) return;
  stopCamera();
  try {
    await predict(file, await createImageBitmap(file));
  } catch {
    setStatus(`${file.name ?? "clipboard"}: expected an image that this browser can decode`, true);
  }
}

// ---- camera

async function startCamera() {
  stopCamera();
  const video = element("video"), frame = new OffscreenCanvas(1, 1), number = state.cameraStarts;
  try {
    const media = await navigator.mediaDevices.getUserMedia({ video: { width: 640, facingMode: "environment" } });
    if (number !== state.cameraStarts) return stopTracks(media);  // stopped while it was starting
    video.srcObject = media;
    await video.play();
  } catch (error) {
    if (number === state.cameraStarts) { setStatus(`no camera: ${error.message ?? error}`, true); stopCamera(); }
    return;
  }
  if (number !== state.cameraStarts) return;  // stopCamera() has stopped the tracks
  element("camera").setAttribute("aria-pressed", "true");
  const stream = (state.stream = engine.openStream(requestOptions()));
  let frames = 0, start = performance.now();
  try {
    while (state.stream === stream) {
      Object.assign(frame, { width: video.videoWidth, height: video.videoHeight });
      frame.getContext("2d").drawImage(video, 0, 0);
      const image = await createImageBitmap(frame), blob = await frame.convertToBlob({ type: "image/jpeg", quality: 0.8 });
      const result = await stream.predict(blob);
      if (state.stream !== stream) break;
      show(result, image, blob);
      if (++frames % 10 === 0) {
        setStatus(`${((10 * 1000) / (performance.now() - start)).toFixed(1)} frames per second`);
        start = performance.now();
      }
    }
  } catch (error) {
    if (state.stream === stream) { setStatus(String(error.message ?? error), true); stopCamera(); }
  }
}

const stopTracks = (media) => { for (const track of media?.getTracks() ?? []) track.stop(); };

function stopCamera() {
  state.cameraStarts++;  // a camera that is still starting stops as soon as it has started
  state.stream?.close();
  state.stream = null;
  element("camera").setAttribute("aria-pressed", "false");
  stopTracks(element("video").srcObject);
  element("video").srcObject = null;
}

// ---- controls

function saveImage() {
  canvas.toBlob((blob) => {
    const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: "blitznet.png" });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
}

async function copyJson() {
  const { width, height } = state.result;
  try {
    await navigator.clipboard.writeText(JSON.stringify({ width, height, detections: visibleDetections() }, null, 1));
    setStatus("The JSON is in the clipboard.");
  } catch (error) {
    setStatus(`cannot copy: ${error.message ?? error}`, true);
  }
}

const repeatRequest = () => (state.blob && !state.stream ? predict(state.blob, state.image) : draw());

element("file").onchange = ({ target }) => { openFile(target.files[0]); target.value = ""; };
element("camera").onclick = () => (state.stream ? stopCamera() : startCamera());
element("save").onclick = saveImage;
element("copy").onclick = copyJson;
element("min-score").oninput = () => { element("min-score-value").textContent = minScore().toFixed(2); draw(); };
element("min-score").onchange = () => { if (showsInstances()) repeatRequest(); else if (state.result) fillClasses(); };
element("opacity").oninput = ({ target }) => {
  element("opacity-value").textContent = `${Math.round(100 * target.value)} %`;
  draw();
};
element("boxes").onchange = element("class-map").onchange = draw;
element("instances").onchange = () => {
  if (state.stream) startCamera(); else repeatRequest();
};
const SHORTCUTS = { o: "file", c: "camera", d: "save", j: "copy", i: "instances" };
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input:not([type=checkbox])")) return;
  const id = SHORTCUTS[event.key.toLowerCase()];
  if (id) element(id).click();
});
addEventListener("paste", ({ clipboardData }) => openFile(clipboardData.files[0]));
for (const name of ["dragenter", "dragover"]) {
  addEventListener(name, (event) => { event.preventDefault(); element("stage").classList.add("dragging"); });
}
addEventListener("dragleave", () => element("stage").classList.remove("dragging"));
addEventListener("drop", (event) => {
  event.preventDefault();
  element("stage").classList.remove("dragging");
  openFile(event.dataTransfer.files[0]);
});

try {
  const { name, classes, panoptic = true, engine: engineName } = await engine.getModel();
  element("instances").parentElement.hidden = !panoptic;
  element("model").textContent =
    `${name}: object boxes and a class for every pixel, ${classes.length} classes${engineName ? `, ${engineName}` : ""}`;
} catch (error) {
  setStatus(String(error.message ?? error), true);
}

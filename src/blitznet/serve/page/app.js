// The web page: draws boxes, class map and instances on an image or camera frames. engine.js runs the network.
import * as engine from "./engine.js";

const element = (id) => document.getElementById(id);
const canvas = element("canvas"), context = canvas.getContext("2d");
const LONGEST_SIDE = 2400;  // of the canvas, pixels; a download has the size of the image
const BUSY = [429, 503], BUSY_DELAY = 500;  // statuses after which the camera continues, and the pause in ms
const LOWEST_SCORE = 0.05;  // of requested detections; the slider filters them without another request

const state = {
  image: null, blob: null, result: null, hiddenClasses: new Set(),
  map: null,  // the drawn layers of the class map
  duration: null,  // of the request in ms; null for camera frames
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

// The run-length encoded map at `scale` of its size: the label at the center of each pixel.
function decodeRle({ size: [height, width], counts, values }, scale) {
  const labels = new Uint16Array(height * width);
  let start = 0;
  counts.forEach((count, i) => { labels.fill(values[i], start, start += count); });
  if (scale === 1) return { labels, width, height };
  const [w, h] = scaledSize({ width, height }, scale), sampled = new Uint16Array(w * h);
  for (let y = 0, i = 0; y < h; y++) {
    const row = Math.floor(((y + 0.5) * height) / h) * width;
    for (let x = 0; x < w; x++) sampled[i++] = labels[row + Math.floor(((x + 0.5) * width) / w)];
  }
  return { labels: sampled, width: w, height: h };
}

const scaledSize = ({ width, height }, scale) =>
  [width, height].map((side) => Math.max(1, Math.round(side * scale)));

// The run-length encoded map to draw, and the color of each of its values; values without a color are not drawn.
function mapAndColors() {
  const { class_names: names, class_map: classMap, panoptic } = state.result, colors = new Map();
  if (showsInstances() && panoptic) {
    for (const { id, class_name: name } of panoptic.segments_info) {
      if (!state.hiddenClasses.has(name)) colors.set(id, segmentColor(id));
    }
    return [panoptic.segmentation, colors];
  }
  names.forEach((name, classId) => { if (!state.hiddenClasses.has(name)) colors.set(classId + 1, classColor(classId)); });
  return [classMap, colors];
}

const segmentColor = (id) => classColor(id * 7 + 3);

// The color of a box: that of its segment if instances are shown.
function boxColor({ class_id: classId, score }) {
  const segments = showsInstances() ? state.result.panoptic?.segments_info ?? [] : [];
  const segment = segments.find((s) => s.class_id === classId && s.score === score);
  return segment ? segmentColor(segment.id) : classColor(classId);
}

// Layers of the map: its areas, which are drawn with the opacity, and its borders. They depend on neither slider.
function renderMap(scale) {
  const [rle, colors] = mapAndColors();
  if (!rle) return null;
  const { labels, width, height } = decodeRle(rle, scale);
  const table = new Uint32Array(65536), bytes = new Uint8Array(table.buffer);
  for (const [value, rgb] of colors) bytes.set([...rgb, 255], 4 * value);
  const layers = [new ImageData(width, height), new ImageData(width, height)];
  const [areas, borders] = layers.map(({ data }) => new Uint32Array(data.buffer));
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      const label = labels[i], color = table[label];
      if (color === 0) continue;
      const isBorder = (x > 0 && labels[i - 1] !== label) || (x < width - 1 && labels[i + 1] !== label) ||
        (y > 0 && labels[i - width] !== label) || (y < height - 1 && labels[i + width] !== label);
      (isBorder ? borders : areas)[i] = color;
    }
  }
  return layers.map((imageData) => {
    const layer = new OffscreenCanvas(width, height);
    layer.getContext("2d").putImageData(imageData, 0, 0);
    return layer;
  });
}

function drawMap(context, scale) {
  const opacity = Number(element("opacity").value);
  const key = JSON.stringify([scale, showsInstances(), [...state.hiddenClasses].sort()]);
  if (state.map?.result !== state.result || state.map.key !== key) {
    state.map = { result: state.result, key, layers: renderMap(scale) };
  }
  if (!state.map.layers || opacity === 0) return;
  state.map.layers.forEach((layer, i) => {
    context.globalAlpha = i === 0 ? opacity : 1;
    context.drawImage(layer, 0, 0);
  });
  context.globalAlpha = 1;
}

const overlap = (a, b) => a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;

// The first free place for a label: above its box, inside, below, and then further down.
function placeLabel(box, size, limits, labels) {
  const x = Math.max(0, Math.min(box.x1, limits.width - size.width));
  const steps = Array.from({ length: 8 }, (_, i) => box.y1 + (i + 1) * size.height);
  const candidates = [box.y1 - size.height, box.y1, box.y2 - size.height, box.y2, ...steps].map((y) => ({ x, y, ...size }));
  const inside = candidates.filter(({ y }) => y >= 0 && y + size.height <= limits.height);
  return inside.find((label) => !labels.some((other) => overlap(label, other))) ?? inside[0] ?? candidates[1];
}

function drawBoxes(context, scale, { width: canvasWidth, height: canvasHeight }) {
  const longSide = Math.max(canvasWidth, canvasHeight), lineWidth = Math.max(2, Math.round(longSide / 250));
  const fontSize = Math.max(12, Math.round(longSide / 34)), labels = [];
  context.font = `600 ${fontSize}px system-ui, sans-serif`;
  context.textBaseline = "top";
  const boxes = visibleDetections().map((detection) => {
    const [x1, y1, x2, y2] = detection.box.map((value) => value * scale);
    return { ...detection, x1, y1, x2, y2, rgb: boxColor(detection) };
  });
  for (const { x1, y1, x2, y2, rgb } of boxes.toReversed()) {
    for (const [width, color] of [[lineWidth + 2, "#000"], [lineWidth, cssColor(rgb)]]) {
      context.lineWidth = width; context.strokeStyle = color; context.strokeRect(x1, y1, x2 - x1, y2 - y1);
    }
  }
  for (const box of boxes) {  // the highest score first
    const text = `${box.class_name} ${box.score.toFixed(2)}`;
    const size = { width: context.measureText(text).width + 8, height: fontSize + 6 };
    const label = placeLabel(box, size, { width: canvasWidth, height: canvasHeight }, labels);
    labels.push(label);
    context.fillStyle = cssColor(box.rgb); context.fillRect(label.x, label.y, label.width, label.height);
    context.fillStyle = isBright(box.rgb) ? "#000" : "#fff"; context.fillText(text, label.x + 4, label.y + 3);
  }
}

function drawOn(target, scale) {
  const targetContext = target.getContext("2d"), [width, height] = scaledSize(state.result, scale);
  if (target.width !== width || target.height !== height) Object.assign(target, { width, height });
  targetContext.clearRect(0, 0, width, height);  // of an image with transparent pixels
  targetContext.drawImage(state.image, 0, 0, width, height);
  if (element("class-map").checked) drawMap(targetContext, scale);
  if (element("boxes").checked) drawBoxes(targetContext, scale, target);
}

function draw() {
  if (!state.result) return;
  const { width, height } = state.result;
  drawOn(canvas, Math.min(1, LONGEST_SIDE / Math.max(width, height)));
  fillTable();
  if (state.duration !== null) setStatus(summary());
}

// The image without results, while they are awaited.
function drawPending(image) {
  const [width, height] = scaledSize(image, Math.min(1, LONGEST_SIDE / Math.max(image.width, image.height)));
  Object.assign(canvas, { width, height });
  context.drawImage(image, 0, 0, width, height);
  element("drop").hidden = true;
  canvas.hidden = false;
  canvas.classList.add("pending");
  element("table").tBodies[0].replaceChildren();
  element("table").hidden = element("classes").hidden = element("save").disabled = element("copy").disabled = true;
}

function summary() {
  const count = visibleDetections().length, { width, height } = state.result;
  return `${count} object${count === 1 ? "" : "s"} in ${state.duration} ms, ${width} x ${height} pixels`;
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
  if (image !== state.image) {
    Object.assign(state, { result: null, blob, image });
    drawPending(image);
  }
  setStatus("Predicting ...");
  try {
    const start = performance.now(), result = await engine.predict(blob, requestOptions());
    if (number !== state.requestCount) return;  // a newer request replaced it
    show(result, image, blob, Math.round(performance.now() - start));
  } catch (error) {
    if (number === state.requestCount) setStatus(String(error.message ?? error), true);
  } finally {
    if (number === state.requestCount) canvas.classList.remove("pending");
  }
}

function show(result, image, blob, duration = null) {
  Object.assign(state, { result, image, blob, duration });
  element("drop").hidden = true;
  canvas.hidden = false;
  canvas.classList.remove("pending");
  element("save").disabled = element("copy").disabled = false;
  fillClasses();
  draw();
}

async function openFile(file) {
  if (!file) return;
  stopCamera();
  let image;
  try {
    image = await createImageBitmap(file);
  } catch {
    setStatus(`${file.name ?? "clipboard"}: expected an image that this browser can decode`, true);
    return;
  }
  await predict(file, image);
}

// ---- camera

const SECURE = "https, or this machine's own address (127.0.0.1)";

async function startCamera() {
  stopCamera();
  if (!navigator.mediaDevices) return setStatus(`Cameras need ${SECURE}.`, true);  // browsers hide them otherwise
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
  openStream();
  let frames = 0, start = performance.now();
  while (number === state.cameraStarts) {
    const stream = state.stream;
    try {
      Object.assign(frame, { width: video.videoWidth, height: video.videoHeight });
      frame.getContext("2d").drawImage(video, 0, 0);
      const image = await createImageBitmap(frame), blob = await frame.convertToBlob({ type: "image/jpeg", quality: 0.8 });
      const result = await stream.predict(blob);
      if (state.stream !== stream) continue;  // of the options before
      show(result, image, blob);
      if (++frames % 10 === 0) {
        setStatus(`${((10 * 1000) / (performance.now() - start)).toFixed(1)} frames per second`);
        start = performance.now();
      }
    } catch (error) {
      if (state.stream !== stream) continue;
      setStatus(String(error.message ?? error), true);
      if (BUSY.includes(error.status)) await new Promise((resolve) => setTimeout(resolve, BUSY_DELAY));
      else stopCamera();
    }
  }
}

// A stream with the current options, in place of the open one.
function openStream() {
  state.stream?.close();
  state.stream = engine.openStream(requestOptions());
}

const stopTracks = (media) => { for (const track of media?.getTracks() ?? []) track.stop(); };

function toggleCamera() {
  if (!state.stream) return startCamera();
  stopCamera();
  setStatus("The camera is off.");
}

function stopCamera() {
  state.cameraStarts++;  // a camera that is still starting stops as soon as it has started
  state.stream?.close();
  state.stream = null;
  element("camera").setAttribute("aria-pressed", "false");
  stopTracks(element("video").srcObject);
  element("video").srcObject = null;
}

// ---- controls

async function saveImage() {
  const full = new OffscreenCanvas(1, 1);
  drawOn(full, 1);
  const blob = await full.convertToBlob({ type: "image/png" });
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: "blitznet.png" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

async function copyJson() {
  const { width, height } = state.result;
  if (!navigator.clipboard) return setStatus(`Copying needs ${SECURE}.`, true);
  try {
    await navigator.clipboard.writeText(JSON.stringify({ width, height, detections: visibleDetections() }, null, 1));
    setStatus("The JSON is in the clipboard.");
  } catch (error) {
    setStatus(`cannot copy: ${error.message ?? error}`, true);
  }
}

// Results with the current options: of the same image, or of the next frames.
function repeatRequest() {
  if (state.stream) openStream();
  else if (state.blob) predict(state.blob, state.image);
}

element("file").onchange = ({ target }) => { openFile(target.files[0]); target.value = ""; };
element("camera").onclick = toggleCamera;
element("save").onclick = saveImage;
element("copy").onclick = copyJson;
element("min-score").oninput = () => { element("min-score-value").textContent = minScore().toFixed(2); draw(); };
element("min-score").onchange = () => { if (showsInstances()) repeatRequest(); else if (state.result) fillClasses(); };
element("opacity").oninput = ({ target }) => {
  element("opacity-value").textContent = `${Math.round(100 * target.value)} %`;
  draw();
};
element("boxes").onchange = element("class-map").onchange = draw;
element("instances").onchange = repeatRequest;
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
  if (event.dataTransfer.files.length) openFile(event.dataTransfer.files[0]);
  else setStatus("Drop an image file; links are not opened.", true);
});

try {
  const { name, classes, panoptic = true, engine: engineName } = await engine.getModel();
  element("instances").parentElement.hidden = !panoptic;
  element("model").textContent =
    `${name}: object boxes and a class for every pixel, ${classes.length} classes${engineName ? `, ${engineName}` : ""}`;
} catch (error) {
  setStatus(String(error.message ?? error), true);
}

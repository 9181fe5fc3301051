// Preprocessing and postprocessing as in Python: core/image.py (resize), postprocess/decode.py, postprocess/nms.py,
// core/boxes.py, postprocess/upsample.py and core/rle.py. tests/demo compares them.

// Pillow's antialiased bilinear resize of 8-bit RGBA to RGB, rounded after each pass: first rows, then columns.
export function resize({ data, width, height }, [h, w]) {
  const columns = resizeWeights(width, w), rows = resizeWeights(height, h);
  const narrow = new Uint8Array(height * w * 3), resized = new Uint8Array(h * w * 3);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < w; x++) {
      const { first, weights } = columns[x];
      let r = 0, g = 0, b = 0;
      for (let k = 0, i = 4 * (y * width + first); k < weights.length; k++, i += 4) {
        r += weights[k] * data[i]; g += weights[k] * data[i + 1]; b += weights[k] * data[i + 2];
      }
      const target = 3 * (y * w + x);
      narrow[target] = r + 0.5; narrow[target + 1] = g + 0.5; narrow[target + 2] = b + 0.5;
    }
  }
  for (let y = 0; y < h; y++) {
    const { first, weights } = rows[y];
    for (let i = 0; i < 3 * w; i++) {
      let sum = 0.5;
      for (let k = 0, j = 3 * first * w + i; k < weights.length; k++, j += 3 * w) sum += weights[k] * narrow[j];
      resized[3 * y * w + i] = sum;
    }
  }
  return resized;
}

// For each of `target` pixels of an axis: the first of its `source` pixels, and the weights from there on.
function resizeWeights(source, target) {
  const scale = source / target, support = Math.max(scale, 1);
  return Array.from({ length: target }, (_, pixel) => {
    const center = (pixel + 0.5) * scale;
    const first = Math.max(0, Math.trunc(center - support + 0.5));
    const end = Math.min(source, Math.trunc(center + support + 0.5));
    const triangle = Array.from({ length: end - first }, (_, k) =>
      Math.max(0, 1 - Math.abs((first + k - center + 0.5) / support)));
    const sum = triangle.reduce((a, b) => a + b, 0);
    return { first, weights: triangle.map((weight) => weight / sum) };
  });
}

// Detections of raw outputs: [{class_id, class_name, score, box}], best first, boxes in pixels of the image.
export function decodeDetections(offsets, logits, anchors, spec, { width, height }, minScore) {
  const channels = spec.classes.length + 1, { postprocess: config, score_calibration: calibration } = spec;
  const threshold = uncalibrated(Math.max(config.score_threshold, minScore), calibration);
  const candidates = Array.from({ length: channels - 1 }, () => []);
  for (let a = 0, i = 0; a < anchors.length / 4; a++, i += channels) {
    let max = -Infinity;
    for (let c = 0; c < channels; c++) max = Math.max(max, logits[i + c]);
    let sum = 0;
    for (let c = 0; c < channels; c++) sum += Math.exp(logits[i + c] - max);
    for (let c = 1; c < channels; c++) {
      const score = Math.exp(logits[i + c] - max) / sum;
      if (score > threshold) candidates[c - 1].push({ classId: c - 1, score, anchor: a });
    }
  }
  const detections = candidates.flatMap((ofClass) => {
    const best = ofClass.sort((a, b) => b.score - a.score).slice(0, config.topk_candidates);
    for (const candidate of best) candidate.box = decodeBox(offsets, anchors, candidate.anchor, spec.anchors.variances);
    return nms(best, config.nms_threshold).slice(0, config.max_per_class);
  });
  return detections.sort((a, b) => b.score - a.score).slice(0, config.max_detections).map(({ classId, score, box }) => ({
    class_id: classId,
    class_name: spec.classes[classId],
    score: calibrated(score, calibration),
    box: box.map((coordinate, k) => coordinate * (k % 2 ? height : width)),
  }));
}

// Platt scaling, and its inverse.
const calibrated = (score, { temperature, bias }) =>
  1 / (1 + Math.exp(-(Math.log(score / (1 - score)) / temperature + bias)));
const uncalibrated = (score, { temperature, bias }) => score <= 0 || score >= 1 ? score
  : 1 / (1 + Math.exp(-(Math.log(score / (1 - score)) - bias) * temperature));

function decodeBox(offsets, anchors, a, variances) {
  const [cx, cy, w, h] = anchors.subarray(4 * a, 4 * a + 4);
  const [dx, dy, dw, dh] = [0, 1, 2, 3].map((k) => offsets[4 * a + k] * variances[k]);
  const x = cx + dx * w, y = cy + dy * h, halfWidth = (w * Math.exp(dw)) / 2, halfHeight = (h * Math.exp(dh)) / 2;
  return [x - halfWidth, y - halfHeight, x + halfWidth, y + halfHeight].map((v) => Math.min(1, Math.max(0, v)));
}

function nms(sorted, threshold) {
  const selected = [];
  for (const candidate of sorted) {
    if (!selected.some((better) => iou(better.box, candidate.box) > threshold)) selected.push(candidate);
  }
  return selected;
}

function iou(a, b) {
  const width = Math.min(a[2], b[2]) - Math.max(a[0], b[0]), height = Math.min(a[3], b[3]) - Math.max(a[1], b[1]);
  if (width <= 0 || height <= 0) return 0;
  const intersection = width * height, area = (box) => (box[2] - box[0]) * (box[3] - box[1]);
  return intersection / (area(a) + area(b) - intersection);
}

// The class map at full size, run-length encoded: logits (C, h, w) are upsampled bilinearly, then argmax.
// Where the four neighbors of a pixel agree, it has their class; only borders are interpolated.
export function upsampleArgmax(logits, channels, [h, w], { width, height }) {
  const plane = h * w, best = new Uint8Array(plane);
  for (let i = 0; i < plane; i++) {
    for (let c = 1; c < channels; c++) if (logits[c * plane + i] > logits[best[i] * plane + i]) best[i] = c;
  }
  const columns = interpolation(w, width), rows = interpolation(h, height), counts = [], values = [];
  let last = -1;
  for (let y = 0; y < height; y++) {
    const { low: top, high: bottom, weight: v } = rows[y];
    for (let x = 0; x < width; x++) {
      const { low: left, high: right, weight: u } = columns[x];
      const [a, b, c, d] = [top * w + left, top * w + right, bottom * w + left, bottom * w + right];
      let value = best[a];
      if (best[b] !== value || best[c] !== value || best[d] !== value) {
        let max = -Infinity;
        for (let k = 0, i = 0; k < channels; k++, i += plane) {
          const upper = logits[i + a] + (logits[i + b] - logits[i + a]) * u;
          const lower = logits[i + c] + (logits[i + d] - logits[i + c]) * u;
          const logit = upper + (lower - upper) * v;
          if (logit > max) { max = logit; value = k; }
        }
      }
      if (value === last) counts[counts.length - 1]++;
      else { values.push(value); counts.push(1); last = value; }
    }
  }
  return { size: [height, width], order: "row-major", counts, values };
}

// For each of `target` pixels of an axis: its two `source` neighbors and the weight of the second; half-pixel centers.
function interpolation(source, target) {
  return Array.from({ length: target }, (_, pixel) => {
    const position = Math.min(Math.max(((pixel + 0.5) * source) / target - 0.5, 0), source - 1);
    const low = Math.trunc(position);
    return { low, high: Math.min(low + 1, source - 1), weight: position - low };
  });
}

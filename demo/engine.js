// The inference engine of the page in this browser: a worker runs the network, and no image leaves the machine.
// Has the functions of src/blitznet/serve/page/engine.js, without instances.

const worker = new Worker(`worker.js${location.search}`, { type: "module" }), pending = new Map();
let requestCount = 0, failure = null;

worker.onmessage = ({ data: { number, response, error } }) => {
  const { resolve, reject } = pending.get(number);
  pending.delete(number);
  if (error) reject(new Error(error));
  else resolve(response);
};
worker.onerror = ({ message }) => {
  failure = new Error(message ?? "Cannot load worker.js; reload the page.");  // also of later requests
  for (const { reject } of pending.values()) reject(failure);
  pending.clear();
};

const send = (request) => new Promise((resolve, reject) => {
  if (failure) return reject(failure);
  pending.set(++requestCount, { resolve, reject });
  worker.postMessage({ number: requestCount, request });
});

export const getModel = () => send(null);
export const predict = (blob, { minScore }) => send({ blob, minScore });
export const openStream = (options) => ({ predict: (blob) => predict(blob, options), close() {} });

// Who looks at pictures: a worker in this browser. Nothing leaves the machine. The same words as the server's engine.js.

const worker = new Worker(`worker.js${location.search}`, { type: "module" }), waiting = new Map();
let count = 0;

worker.onmessage = ({ data: { number, answer, error } }) => {
  const { done, failed } = waiting.get(number);
  waiting.delete(number);
  if (error) failed(new Error(error));
  else done(answer);
};
worker.onerror = ({ message }) => {
  for (const { failed } of waiting.values()) failed(new Error(message ?? "the worker cannot start"));
};

const ask = (asked) => new Promise((done, failed) => {
  waiting.set(++count, { done, failed });
  worker.postMessage({ number: count, asked });
});

export const about = () => ask(null);
export const look = (blob, { score }) => ask({ blob, score });
export const openLine = (wish) => ({ look: (blob) => look(blob, wish), close() {} });

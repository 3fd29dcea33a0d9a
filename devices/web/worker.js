// One model in a worker of its own, as one process of the agent elsewhere: loaded, warmed up, measured in turns.
const QUIET_MS = 50; // after a turn with several threads: they spin for a while in case more work comes
const STEPS = 20; // of the clock, that a sample has at least

let ort, session, feeds, threads;
let expected = 0; // ms of an inference
let batch = 1; // inferences of a sample
let step = 0; // of the clock, in ms

const now = () => performance.now();
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

async function load(order) {
  ort = await import(`./ort/${order.script}`);
  ort.env.logLevel = "fatal";
  ort.env.wasm.numThreads = order.threads;
  ort.env.wasm.wasmBinary = order.wasm;
  threads = order.threads;
  step = order.clock_ms;
  const model = new Uint8Array(order.model);
  const open = () =>
    ort.InferenceSession.create(model, { executionProviders: ["wasm"], interOpNumThreads: 1, logSeverityLevel: 4 });
  const begun = now();
  const first = await open(); // starts the library, too
  const start_ms = now() - begun;
  await first.release();
  const again = now();
  session = await open();
  const load_ms = now() - again;
  const kinds = { float32: Float32Array, uint8: Uint8Array, int8: Int8Array };
  const { name, type, dims } = order.input;
  feeds = { [name]: new ort.Tensor(type, new kinds[type](order.tensor), dims) };
  const before = now();
  const outputs = await session.run(feeds);
  const first_ms = now() - before;
  expected = first_ms;
  const described = [], parts = [];
  for (const output of session.outputNames) {
    const tensor = outputs[output];
    described.push({ name: output, type: tensor.type, dims: [...tensor.dims] });
    parts.push(new Uint8Array(tensor.data.buffer, tensor.data.byteOffset, tensor.data.byteLength).slice());
  }
  return { answer: { start_ms, load_ms, first_ms, threads: ort.env.wasm.numThreads, outputs: described }, parts };
}

/** Samples in ms, for so long and of so many inferences at least. */
async function run(ms, count) {
  const times = [];
  const end = now() + ms;
  for (;;) {
    const begun = now();
    for (let i = 0; i < batch; i++) await session.run(feeds);
    const ended = now();
    times.push((ended - begun) / batch);
    if (ended >= end && times.length * batch >= count) return times;
  }
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

async function quiet() {
  if (threads > 1) await sleep(QUIET_MS);
}

/** Run until the medians of two successive windows agree; then as many inferences a sample as the clock needs. */
async function warmUp({ window_s, within, cap_s }) {
  const begun = now();
  let before = Infinity;
  for (;;) {
    const window = now();
    const times = await run(1e3 * window_s, 3);
    const mean = (now() - window) / (times.length * batch);
    const middle = median(times) || mean;
    const seconds = (now() - begun) / 1e3;
    const wanted = Math.max(1, Math.ceil((STEPS * step) / Math.max(mean, 1e-6)));
    const settled = Number.isFinite(before) && Math.abs(middle - before) <= within * before;
    // a sample of other inferences is another measurement: the next window is compared with the one after it
    if (wanted > 1.5 * batch) {
      batch = wanted;
      before = Infinity;
    } else if (settled || seconds >= cap_s) {
      expected = middle;
      await quiet();
      return { answer: { seconds, settled, median_ms: middle, batch } };
    } else before = middle;
  }
}

async function turn({ seconds, count, settle_s }) {
  if (batch * expected < 1e3 * seconds) await run(1e3 * settle_s, 1);
  const begins = now();
  const times = await run(1e3 * seconds, count);
  const ends = now();
  await quiet();
  const ns = (ms) => Math.round(1e6 * ms);
  return { answer: { times_ns: times.map(ns), window_ns: [ns(begins), ns(ends)] } };
}

const HANDLERS = { load, warm_up: warmUp, turn };

addEventListener("message", async ({ data }) => {
  let done;
  try {
    done = await HANDLERS[data.do](data);
  } catch (error) {
    done = { answer: { error: `${data.do}: ${error?.message ?? error}` } };
  }
  postMessage(done);
});

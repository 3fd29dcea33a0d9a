// Begins a session, does what it is told, answers. Workers (worker.js) measure; this page waits meanwhile.
const RETRY_MS = 1000, GIVE_UP_MS = 14000;

const element = (id) => document.getElementById(id);
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const workers = new Map(); // agent → {worker, cell}
const fetched = new Map(); // path → blob
let about, facts, session, over = false, hiddenCount = 0, wakeLock = null, begun = 0;

// ---- this browser

/** The smallest step of the clock, in ms. */
function clockStep() {
  let least = Infinity;
  const end = performance.now() + 60;
  for (let last = performance.now(); last < end;) {
    const next = performance.now();
    if (next > last) least = Math.min(least, next - last);
    last = next;
  }
  return Math.max(Math.min(least, 100), 0.001);
}

async function platform() {
  const data = navigator.userAgentData;
  if (!data?.getHighEntropyValues) return {};
  try {
    const found = await data.getHighEntropyValues(["model", "platformVersion", "architecture", "bitness", "fullVersionList"]);
    const brands = (found.fullVersionList ?? []).filter(({ brand }) => !/not.?a.?brand/i.test(brand));
    const brand = brands.find(({ brand: name }) => name !== "Chromium") ?? brands[0];
    return {
      model: found.model ?? "",
      system: data.platform ? `${data.platform} ${found.platformVersion ?? ""}`.trim() : "",
      browser: brand ? `${brand.brand} ${brand.version}` : "",
      architecture: found.architecture ?? "",
      bits: found.bitness ?? "",
    };
  } catch {
    return {};
  }
}

function guessedName(known) {
  if (known.model) return known.model;
  const apple = /\((iPhone|iPad|iPod)/.exec(navigator.userAgent);
  if (apple) return apple[1];
  return /Android/.test(navigator.userAgent) ? "phone" : "browser";
}

async function lookAround() {
  const known = await platform();
  return {
    user_agent: navigator.userAgent.slice(0, 1000),
    cores: navigator.hardwareConcurrency || 1,
    isolated: globalThis.crossOriginIsolated === true,
    secure: globalThis.isSecureContext === true,
    clock_us: 1e3 * clockStep(),
    ...Object.fromEntries(Object.entries(known).map(([key, value]) => [key, String(value).slice(0, 100)])),
    label: guessedName(known).slice(0, 60),
  };
}

// ---- what is shown

function setState(state, text = state) {
  element("state").dataset.state = state;
  element("state").textContent = text;
}

function showBanner(text) {
  element("banner").textContent = text;
  element("banner").hidden = !text;
}

function add(parent, tag, text, kind = "") {
  const child = parent.appendChild(document.createElement(tag));
  child.textContent = text;
  if (kind) child.className = kind;
  return child;
}

function showFacts() {
  const rows = {
    browser: facts.browser || facts.user_agent,
    cores: facts.cores,
    threads: facts.isolated ? "yes: the page is cross-origin isolated" : "one only",
    clock: `steps of ${facts.clock_us >= 1000 ? `${facts.clock_us / 1000} ms` : `${Math.round(facts.clock_us)} µs`}`,
    runs: `onnxruntime-web ${about.ort}`,
  };
  for (const [name, value] of Object.entries(rows)) {
    add(element("facts"), "dt", name);
    add(element("facts"), "dd", value);
  }
  if (facts.isolated) return;
  const why = element("why-one");
  why.hidden = false;
  if (facts.secure) {
    why.textContent = "This browser does not isolate pages, so it gives them one thread: a newer one does.";
    return;
  }
  const port = location.port;
  why.append("This page came over plain HTTP, so the browser gives it one thread. For more: ");
  add(why, "code", "--https");
  why.append(", or on Android a cable, ");
  add(why, "code", `adb reverse tcp:${port} tcp:${port}`);
  why.append(", and ");
  add(why, "code", `http://localhost:${port}`);
  why.append(" here.");
}

function showModels() {
  for (const model of about.models) {
    const item = element("models").appendChild(document.createElement("li"));
    add(item, "b", model.name);
    add(item, "span", model.about, "soft");
  }
}

function showProgress({ text, done, total } = {}) {
  if (!text) return;
  const part = total ? Math.min(done / total, 1) : 0;
  element("doing").textContent = text;
  element("bar").value = part;
  element("percent").textContent = `${Math.floor(100 * part)} %`;
}

function showElapsed() {
  const seconds = Math.floor((performance.now() - begun) / 1e3);
  element("elapsed").textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")} min`;
}

const cells = new Map(); // model and threads → {row, samples}

function showTurn({ model, threads }, times) {
  const key = `${model} ${threads}`;
  if (!cells.has(key)) {
    const row = element("cells").appendChild(document.createElement("tr"));
    for (const text of [about.models[model].name, threads, "", ""]) add(row, "td", text);
    cells.set(key, { row, samples: 0 });
    element("cells-card").hidden = false;
  }
  const cell = cells.get(key);
  cell.samples += times.length;
  const middle = [...times].sort((a, b) => a - b)[times.length >> 1];
  cell.row.children[2].textContent = (middle / 1e6).toFixed(2);
  cell.row.children[3].textContent = cell.samples;
}

function showResult(result) {
  element("cells-title").textContent = result.quick ? "Result, ms (quick: a first look)" : "Result, ms";
  element("first-column").textContent = "p50";
  element("second-column").textContent = "p90";
  element("cells").replaceChildren();
  for (const cell of result.cells) {
    const row = element("cells").appendChild(document.createElement("tr"));
    const name = add(row, "td", cell.model);
    if (!cell.valid) add(name, "small", `not valid: ${cell.why}`);
    for (const text of [cell.threads, cell.p50.toFixed(2), cell.p90.toFixed(2)]) add(row, "td", text);
  }
  element("cells-card").hidden = false;
  element("cells-note").textContent = result.saved
    ? "The whole result is on the machine that serves this page."
    : "The table is on the machine that serves this page; it was not asked to keep the result.";
  element("cells-note").hidden = false;
}

function end(text, result = null) {
  if (over) return;
  over = true;
  wakeLock?.release().catch(() => {});
  for (const { worker } of workers.values()) worker.terminate();
  workers.clear();
  element("progress").hidden = true;
  element("begin").hidden = true;
  if (result) {
    setState("done");
    showResult(result);
  } else {
    setState("ended");
    showBanner(`It is over: ${text}`);
  }
}

// ---- the other side

/** A request that is made again while there is no connection; null once there is none for too long. */
async function ask(path, options = {}) {
  const until = performance.now() + GIVE_UP_MS;
  while (!over) {
    try {
      return await fetch(path, options);
    } catch {
      if (performance.now() > until) break;
      await sleep(RETRY_MS);
    }
  }
  return null;
}

async function blobOf(path) {
  if (!fetched.has(path)) {
    const answer = await ask(path);
    if (!answer?.ok) throw new Error(`${path} cannot be fetched (${answer?.status ?? "no connection"})`);
    fetched.set(path, await answer.blob());
  }
  return (await fetched.get(path)).arrayBuffer();
}

async function say(number, answer, parts = []) {
  const text = new TextEncoder().encode(JSON.stringify(answer));
  const length = new Uint8Array(new Uint32Array([text.length]).buffer); // little-endian on all that run browsers
  const body = new Blob([length, text, ...parts]);
  const reply = await ask(`answer?session=${session}&number=${number}`, { method: "POST", body });
  if (!over && !reply?.ok) end(reply ? `an answer was refused (${reply.status})` : "there is no connection any more");
}

async function obey() {
  let last = 0;
  while (!over) {
    const reply = await ask(`next?session=${session}&after=${last}`);
    if (!reply?.ok) {
      end(reply ? `this page is not the one that is measured (${reply.status})` : "there is no connection any more");
      return;
    }
    const order = await reply.json().catch(() => ({}));
    if (order.do === "end") {
      end(order.text, order.result);
      return;
    }
    if (order.number > last) {
      last = order.number;
      carryOut(order); // and ask for the next one at once: that request says that this page is there
    }
  }
}

async function carryOut(order) {
  showProgress(order.progress);
  let done;
  try {
    done = await ORDERS[order.do](order);
  } catch (error) {
    done = { answer: { error: `${order.do}: ${error?.message ?? error}` } };
  }
  await say(order.number, done.answer, done.parts);
}

function inWorker(agent, order, transfer = []) {
  const { worker } = workers.get(agent);
  return new Promise((resolve, reject) => {
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = (event) => reject(new Error(event.message || "the worker failed"));
    worker.postMessage(order, transfer);
  });
}

/** Measure again what the browser slowed down because the page was not seen. */
async function inFront(measure) {
  for (;;) {
    while (document.hidden) await new Promise((done) => document.addEventListener("visibilitychange", done, { once: true }));
    const before = hiddenCount;
    const done = await measure();
    if (hiddenCount === before) return done;
  }
}

const ORDERS = {
  async load(order) {
    const [wasm, model, tensor] = await Promise.all(
      [`ort/${about.wasm}`, `models/${order.model}`, `inputs/${order.model}`].map(blobOf));
    const worker = new Worker("worker.js", { type: "module" });
    workers.set(order.agent, { worker, cell: { model: order.model, threads: order.threads } });
    const message = { ...order, script: about.script, clock_ms: facts.clock_us / 1e3, wasm, model, tensor };
    return inWorker(order.agent, message, [wasm, model, tensor]);
  },
  warm_up: (order) => inFront(() => inWorker(order.agent, order)),
  async turn(order) {
    const done = await inFront(() => inWorker(order.agent, order));
    if (done.answer.times_ns) showTurn(workers.get(order.agent).cell, done.answer.times_ns);
    return done;
  },
  async conditions() {
    const battery = await navigator.getBattery?.().catch(() => null);
    // a device without a battery says "charging, full"
    const known = battery && !(battery.charging && battery.level === 1 && battery.chargingTime === 0);
    return { answer: { charging: known ? battery.charging : null } };
  },
  async close(order) {
    workers.get(order.agent)?.worker.terminate();
    workers.delete(order.agent);
    return { answer: {} };
  },
};

// ---- a person

async function keepAwake() {
  try {
    wakeLock = await navigator.wakeLock?.request("screen");
  } catch {
    wakeLock = null; // not over plain HTTP, nor with an empty battery
  }
}

async function begin(event) {
  event.preventDefault();
  element("start").disabled = true;
  const body = JSON.stringify({ ...facts, label: element("label").value.trim() || facts.label });
  const answer = await ask("begin", { method: "POST", body });
  const said = await answer?.json().catch(() => ({}));
  if (!answer?.ok) {
    showBanner(answer ? `It cannot begin: ${said?.error ?? answer.status}` : "There is no connection.");
    element("start").disabled = false;
    return;
  }
  session = said.session;
  begun = performance.now();
  setState("measuring");
  showBanner("");
  element("begin").hidden = true;
  element("progress").hidden = false;
  const clock = setInterval(() => (over ? clearInterval(clock) : showElapsed()), 1000);
  await keepAwake();
  obey();
}

document.addEventListener("visibilitychange", () => {
  if (!session || over) return;
  if (document.hidden) hiddenCount++;
  else keepAwake();
  setState("measuring", document.hidden ? "waiting" : "measuring");
  navigator.sendBeacon(`state?session=${session}`, document.hidden ? "hidden" : "visible");
});
addEventListener("pagehide", () => {
  if (session && !over) navigator.sendBeacon(`state?session=${session}`, "closed");
});

const reply = await ask("about.json");
if (reply?.ok) {
  about = await reply.json();
  facts = await lookAround();
  showModels();
  showFacts();
  element("label").value = about.label || facts.label;
  element("advice").textContent =
    `${about.advice} Close other apps; do not touch the phone meanwhile: it gets warm, and slower, by that too.`;
  element("begin").addEventListener("submit", begin);
  element("start").disabled = false;
} else showBanner("The machine that serves this page does not answer.");

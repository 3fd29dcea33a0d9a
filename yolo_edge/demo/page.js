// What the page shows, and what its controls do.
import { color, drawBoxes } from "./boxes.js";
import { Chart } from "./chart.js";
import { Live } from "./live.js";

const $ = (id) => document.getElementById(id);
const figures = [...document.querySelectorAll("#screens figure")];
const PARTS = [
  ["waiting", (h) => h.waited_ms],
  ["preprocessing", (h) => sum(h.found, "preprocess_ms")],
  ["inference", (h) => sum(h.found, "inference_ms")],
  ["post-processing", (h) => sum(h.found, "postprocess_ms")],
  ["then encoding for the page", (h) => h.encode_ms],
];
const sum = (items, key) => items.reduce((all, item) => all + item[key], 0);

let about = null; // what the server said first
let last = null; // the newest frame: { header, bitmap }
let paused = false;
let smooth = null;
let textDue = 0;
const hidden = new Set(); // class names that are filtered out
const chips = new Map(); // class name → its elements
const shownAt = [];

const live = new Live();
const chart = new Chart($("chart"), $("chart-text"), (name) => color(idOf(name)));

live.addEventListener("hello", ({ detail }) => {
  const first = about === null;
  about = detail;
  document.title = `${detail.source.name} · yolo-edge demo`;
  $("source").textContent = detail.source.name;
  if (first) {
    $("confidence").min = detail.floor;
    setConfidence(detail.confidence);
  }
  showModels(detail.chosen);
  for (const [, counts] of detail.history) Object.keys(counts).forEach(chip);
  chart.reset(detail.history, detail.history_s);
  setState("live", "live");
});
live.addEventListener("status", ({ detail }) => showStatus(detail));
live.addEventListener("frame", ({ detail }) => {
  if (paused) return detail.bitmap.close();
  last?.bitmap.close();
  last = detail;
  shownAt.push(performance.now());
  while (shownAt.length && shownAt[0] < performance.now() - 2000) shownAt.shift();
  draw();
  showFrame();
});
live.addEventListener("away", () => setState("lost", "no connection", "The connection is lost. Trying again …"));
live.addEventListener("end", ({ detail }) =>
  setState("ended", "ended", `It is over: ${detail.text}. Start yolo-edge demo again to go on.`));

function setState(state, text, banner = "") {
  $("state").dataset.state = state;
  $("state").textContent = text;
  $("banner").textContent = banner;
  $("banner").hidden = !banner;
}

function idOf(name) {
  for (const model of about.models) {
    const id = model.classes.indexOf(name);
    if (id >= 0) return id;
  }
  return 0;
}

// ---- the picture

function visible(found) {
  const names = about.models[found.model].classes;
  const limit = Number($("confidence").value);
  return found.boxes.filter(([id, confidence]) => confidence > limit && !hidden.has(names[id]));
}

function draw() {
  if (!last || !about) return;
  const { header, bitmap } = last;
  figures.forEach((figure, i) => {
    figure.hidden = i >= header.found.length;
  });
  $("screens").classList.toggle("two", header.found.length > 1);
  const unit = devicePixelRatio || 1;
  header.found.forEach((found, i) => {
    const canvas = figures[i].querySelector("canvas");
    const room = figures[i].clientWidth;
    // as large as fits, with something of the controls in sight
    const high = document.fullscreenElement ? innerHeight : Math.max(0.74 * innerHeight, 240);
    const wide = Math.min(room, (high * header.width) / header.height);
    const size = [Math.round(wide * unit), Math.round((wide * unit * header.height) / header.width)];
    if (canvas.width !== size[0] || canvas.height !== size[1]) {
      [canvas.width, canvas.height] = size;
      canvas.style.width = `${wide}px`;
    }
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    drawBoxes(context, visible(found), about.models[found.model].classes, header.width, header.height, unit);
    canvas.dataset.frame = header.number;
    const model = about.models[found.model];
    figures[i].querySelector("figcaption").textContent =
      about.models.length > 1 ? `${model.name}: ${found.inference_ms.toFixed(1)} ms` : "";
  });
}

function snapshot() {
  if (!last) return;
  const { header, bitmap } = last;
  const [wide, tall] = [bitmap.width, bitmap.height];
  const canvas = document.createElement("canvas");
  canvas.width = wide * header.found.length;
  canvas.height = tall;
  const context = canvas.getContext("2d");
  header.found.forEach((found, i) => {
    const part = new OffscreenCanvas(wide, tall);
    const inner = part.getContext("2d");
    inner.drawImage(bitmap, 0, 0);
    const names = about.models[found.model].classes;
    drawBoxes(inner, visible(found), names, header.width, header.height, Math.max(Math.min(wide, tall) / 500, 0.6));
    context.drawImage(part, i * wide, 0);
  });
  canvas.toBlob((blob) => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = `yolo-edge-${header.number}.jpg`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }, "image/jpeg", 0.92);
}

// ---- what stands beside it; a few times a second: nobody reads faster

function showFrame() {
  const { header } = last;
  const parts = PARTS.map(([, of]) => of(header));
  const all = [header.latency_ms, ...parts];
  smooth = smooth ? smooth.map((old, i) => 0.85 * old + 0.15 * all[i]) : all;
  if (performance.now() < textDue) return;
  textDue = performance.now() + 250;
  showDetections();
  $("latency").textContent = format(smooth[0]);
  const [, ...means] = smooth;
  if (!$("split").children.length) {
    PARTS.forEach(([name], i) => {
      $("split").append(element("i", "", `part${i}`));
      $("split-list").append(element("dt", name, `part${i}`), element("dd", ""));
    });
  }
  means.forEach((ms, i) => {
    $("split").children[i].style.flexGrow = Math.max(ms, 0.001);
    $("split-list").children[2 * i + 1].textContent = `${format(ms)} ms`;
  });
}

function showDetections() {
  const found = last.header.found[0];
  const names = about.models[found.model].classes;
  const limit = Number($("confidence").value);
  for (const [id, confidence] of found.boxes) if (confidence > limit) chip(names[id]);
  const boxes = visible(found);
  const counts = new Map();
  for (const [id] of boxes) counts.set(names[id], (counts.get(names[id]) || 0) + 1);
  for (const [name, { count }] of chips) count.textContent = counts.get(name) || 0;
  $("seen").dataset.frame = last.header.number;
  $("seen").replaceChildren(...boxes.map(([id, confidence, ...box]) =>
    element("li", `${names[id]} ${confidence.toFixed(2)} at ${box.map(Math.round).join(", ")}`)));
}

function showStatus(status) {
  if (!status.counts) return;
  $("fps").textContent = format(status.fps);
  const shown = shownAt.length > 1 ? (1000 * (shownAt.length - 1)) / (shownAt[shownAt.length - 1] - shownAt[0]) : 0;
  $("rates").textContent = paused ? "paused here" : `${format(shown)} shown here`;
  chart.add(status.counts);
  Object.keys(status.counts[1]).forEach(chip);
  showModels(status.chosen);
  if (status.lost) setState("lost", "source lost", `The source is lost: ${status.lost}. Trying again …`);
  else if (!live.ended) setState(paused ? "paused" : "live", paused ? "paused" : "live");
  const facts = [];
  if (status.temperature) facts.push(["temperature", `${status.temperature.celsius} °C`, status.temperature.sensor]);
  if (status.clock_mhz) facts.push(["clock", `${Math.round(status.clock_mhz)} MHz`]);
  if (status.throttled) {
    const { now, since_boot: before } = status.throttled;
    if (now.length) facts.push(["throttling", now.join(", "), "", "bad"]);
    else if (before.length) facts.push(["throttling", `not now; since boot: ${before.join(", ")}`, "", "warn"]);
    else facts.push(["throttling", "none"]);
  }
  facts.push(["power", status.power ? `${status.power.watts} W (${status.power.scope})` : "no meter"]);
  if (status.load !== null) facts.push(["load", status.load.toFixed(2)]);
  if (status.memory_mb) facts.push(["memory", `${Math.round(status.memory_mb)} MB`]);
  facts.push(["frames", status.frames.toLocaleString("en")]);
  if (status.skipped) facts.push(["not taken", status.skipped.toLocaleString("en"), "came faster than the model works"]);
  facts.push(["viewers", status.viewers]);
  $("machine").replaceChildren(...facts.flatMap(([name, text, title = "", kind = ""]) => {
    const value = element("dd", text, kind);
    value.title = title;
    return [element("dt", name), value];
  }));
}

function element(tag, text, className = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  made.className = className;
  return made;
}

function format(number) {
  return number >= 100 ? number.toFixed(0) : number.toFixed(1);
}

// ---- filters

function chip(name) {
  if (chips.has(name) || chips.size >= 200) return;
  const label = element("label", "", "chip");
  const box = document.createElement("input");
  box.type = "checkbox";
  box.checked = true;
  const swatch = element("span", "", "swatch");
  swatch.style.background = color(idOf(name));
  const count = element("b", "0");
  label.append(box, swatch, name, count);
  box.addEventListener("change", () => {
    if (box.checked) hidden.delete(name);
    else hidden.add(name);
    refilter();
  });
  chips.set(name, { box, count });
  $("class-list").append(label);
  $("no-classes").hidden = true;
}

function refilter() {
  $("all-classes").hidden = hidden.size === 0;
  draw();
  if (last) showDetections();
}

$("all-classes").addEventListener("click", () => {
  hidden.clear();
  for (const { box } of chips.values()) box.checked = true;
  refilter();
});

function setConfidence(value) {
  $("confidence").value = value;
  $("confidence-shown").textContent = Number($("confidence").value).toFixed(2);
  refilter();
}
$("confidence").addEventListener("input", () => setConfidence($("confidence").value));

// ---- models

function showModels(chosen) {
  const { models } = about;
  if ($("models").children.length !== models.length) {
    $("models").replaceChildren(...models.map((model, i) => {
      const label = element("label", "", "model");
      const radio = document.createElement("input");
      radio.type = "radio";
      radio.name = "model";
      radio.addEventListener("change", () => choose(i));
      const threads = model.threads ? `, ${model.threads} thread${model.threads > 1 ? "s" : ""}` : "";
      const facts = `${model.precision}, ${model.width}x${model.height}, ${model.runtime}${threads}`;
      label.append(radio, element("b", model.name), element("span", facts));
      return label;
    }));
    $("beside").replaceChildren(new Option("no other", ""), ...models.map((model, i) => new Option(model.name, i)));
    $("beside-label").hidden = models.length < 2;
  }
  $("models").querySelectorAll("input").forEach((radio, i) => {
    radio.checked = i === chosen[0];
  });
  [...$("beside").options].forEach((option) => {
    option.disabled = option.value === String(chosen[0]);
  });
  if (document.activeElement !== $("beside")) $("beside").value = chosen.length > 1 ? chosen[1] : "";
  about.chosen = chosen;
}

function choose(first, second = about.chosen[1]) {
  const chosen = second === undefined || second === first ? [first] : [first, second];
  live.run(chosen);
  showModels(chosen);
}

$("beside").addEventListener("change", ({ target }) => {
  live.run(target.value === "" ? [about.chosen[0]] : [about.chosen[0], Number(target.value)]);
});

function toggleBeside() {
  const [first, second] = about.chosen;
  if (about.models.length < 2) return;
  const chosen = second === undefined ? [first, (first + 1) % about.models.length] : [first];
  live.run(chosen);
  showModels(chosen);
}

// ---- buttons and keys

function togglePause() {
  paused = !paused;
  live.want(!paused);
  $("pause").setAttribute("aria-pressed", paused);
  $("pause").textContent = paused ? "Go on" : "Pause";
  if (!live.ended && about) setState(paused ? "paused" : "live", paused ? "paused" : "live");
}

function toggleFull() {
  if (document.fullscreenElement) document.exitFullscreen();
  else $("stage").requestFullscreen?.();
}

$("pause").addEventListener("click", togglePause);
$("snapshot").addEventListener("click", snapshot);
$("full").addEventListener("click", toggleFull);
if (!document.fullscreenEnabled) $("full").hidden = true;
addEventListener("resize", draw);
document.addEventListener("fullscreenchange", draw);
document.addEventListener("visibilitychange", () => live.ask());

const KEYS = {
  " ": togglePause,
  s: snapshot,
  f: toggleFull,
  b: toggleBeside,
  "+": () => setConfidence(Number($("confidence").value) + 0.05),
  "-": () => setConfidence(Number($("confidence").value) - 0.05),
  "?": () => {
    $("help").open = !$("help").open;
    $("help").scrollIntoView({ block: "nearest" });
  },
};
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !about) return;
  // a control that has the focus has its own keys
  if (event.key === " " && event.target.closest("button, input, select, summary, a")) return;
  if (event.target.closest("select")) return;
  const model = Number(event.key) - 1;
  if (model >= 0 && model < about.models.length) choose(model);
  else if (KEYS[event.key.toLowerCase()]) KEYS[event.key.toLowerCase()]();
  else return;
  event.preventDefault();
});

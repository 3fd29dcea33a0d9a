"use strict";
const parsed = (id) => JSON.parse(document.getElementById(id).textContent);
// a column is a list of values, or the texts that there are and where each stands
const unpack = (column) => (Array.isArray(column) ? column : column.at.map((place) => column.texts[place]));

// a long table is laid out as far as it was scrolled: thousands of rows take a browser a second; on paper it is whole
const PIECE = 100;
class Table {
  constructor(table) {
    const [body, rest] = table.tBodies;
    this.body = body;
    this.shown = rest ? body.rows.length : Infinity;
    if (!rest) return;
    for (const row of rest.rows) row.classList.add("beyond");
    body.append(...rest.rows);
    rest.remove();
    this.end = document.createElement("div");
    table.after(this.end);
    this.watch = new IntersectionObserver(([entry]) => entry.isIntersecting && this.show(this.shown + PIECE), {
      root: table.closest(".tall"),
      rootMargin: "600px",
    });
    this.watch.observe(this.end);
  }
  show(count) {
    this.shown = count;
    this.lay();
    this.watch.unobserve(this.end); // so that it tells again where the end is in sight still
    if ([...this.body.rows].some((row) => row.matches(".beyond:not([hidden])"))) this.watch.observe(this.end);
  }
  lay() {
    if (!this.end) return;
    let left = this.shown;
    for (const row of this.body.rows) row.classList.toggle("beyond", !row.hidden && left-- <= 0);
  }
  begin() {
    if (!this.end) return;
    this.end.parentElement.scrollTop = 0;
    this.show(PIECE);
  }
  reveal(row) {
    const before = [...this.body.rows].filter((other) => !other.hidden).indexOf(row);
    if (before >= this.shown) this.show(before + PIECE);
    row.scrollIntoView({ block: "center" });
  }
}
const tables = new Map([...document.querySelectorAll("table.sortable")].map((table) => [table, new Table(table)]));

// tables sort by a click on a heading; numbers by value, the rest by text, empty fields last
for (const [table, laid] of tables) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = heading.textContent;
    heading.replaceChildren(button);
    button.addEventListener("click", () => {
      const up = heading.getAttribute("aria-sort") !== "ascending";
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", up ? "ascending" : "descending");
      const numbers = heading.classList.contains("number");
      const key = (row) => {
        const text = row.cells[column].textContent.trim();
        return numbers && text !== "-" ? Number.parseFloat(text) : text;
      };
      const rows = [...laid.body.rows].map((row) => [key(row), row]).sort(([a], [b]) => {
        const missing = (a === "-" || a === "") - (b === "-" || b === "");
        if (missing) return missing;
        const order = typeof a === "number" && typeof b === "number" ? a - b : a < b ? -1 : a > b ? 1 : 0;
        return up ? order : -order;
      });
      laid.body.append(...rows.map(([, row]) => row));
      laid.begin();
    });
  });
}

// rows of the table of cells, by their id; what is pointed at in one place is shown in all others
const rows = [];
for (const row of document.querySelectorAll("tr[data-id]")) rows[row.dataset.id] = row;
const views = [];
let hidden = [];
let picked = -1;
const tell = (name, value) => {
  for (const view of views) view.signal(name, value).runAsync();
};
const pick = (id) => {
  if (id === picked) return;
  rows[picked]?.classList.remove("picked");
  rows[id]?.classList.add("picked");
  picked = id;
  tell("picked", id);
};
for (const row of rows) {
  row.addEventListener("mouseenter", () => pick(Number(row.dataset.id)));
  row.addEventListener("mouseleave", () => pick(-1));
}

// filters: a choice for each property that differs among the rows
const form = document.getElementById("filters");
const choices = Object.entries(parsed("filter-values")).map(([name, column]) => [name, unpack(column)]);
const said = document.createElement("output");
const filter = () => {
  const wanted = choices.map(([name, values]) => [form.elements[name].value, values]);
  hidden = rows.map((row, id) => (wanted.some(([value, values]) => value !== "" && values[id] !== value) ? 1 : 0));
  rows.forEach((row, id) => (row.hidden = hidden[id] === 1));
  tables.get(rows[0].closest("table")).begin();
  const shown = hidden.filter((flag) => !flag).length;
  said.textContent = `${shown} of ${rows.length} cells`;
  tell("hidden", hidden);
};
for (const [name, values] of form ? choices : []) {
  const label = document.createElement("label");
  const select = document.createElement("select");
  select.name = name;
  select.add(new Option("all", ""));
  const numeric = { numeric: true };
  for (const value of [...new Set(values)].sort((a, b) => a.localeCompare(b, undefined, numeric))) {
    select.add(new Option(value, value));
  }
  select.addEventListener("change", filter);
  label.append(`${name} `, select);
  form.append(label);
}
if (form && choices.length) {
  const all = document.createElement("button");
  all.type = "reset";
  all.textContent = "show all";
  form.addEventListener("reset", () => setTimeout(filter));
  form.addEventListener("submit", (event) => event.preventDefault());
  form.append(all, said);
  form.hidden = false;
  said.textContent = `${rows.length} cells`;
}

// the drawn charts become ones that answer to the mouse, one after the other, those in sight first, the others when the
// browser has nothing to do; "currentColor" in them follows the page, light or dark
const packed = parsed("datasets");
const unpackAll = (columns) => Object.entries(columns).map(([field, column]) => [field, unpack(column)]);
const toRecords = (columns) =>
  Array.from({ length: columns.length ? columns[0][1].length : 0 }, (_, i) => {
    const record = {};
    for (const [field, values] of columns) if (values[i] !== null) record[field] = values[i];
    return record;
  });
const facts = toRecords(unpackAll(packed.rows));
const unpacked = (name) =>
  toRecords(unpackAll(packed.charts[name])).map((record) => (record.id >= 0 ? { ...facts[record.id], ...record } : record));
// on a phone a chart takes the width that there is: its names stand in lines, its legend in one column, what is side by
// side one below the other. Charts whose marks have labels or several texts were laid out for their width, and are scrolled
const PHONE = 560;
const LINES = "split(replace(replace(datum.label, ' / ', ' /\\n'), ' (', '\\n('), '\\n')";
const parts = (value) => (value && typeof value === "object" ? [value, ...Object.values(value).flatMap(parts)] : []);
const narrow = (spec, room) => {
  const all = parts(spec);
  const texts = all.filter(({ mark }) => mark?.type === "text");
  if (texts.length > 1 || texts.some(({ encoding }) => encoding.text.field === "label")) return;
  for (const { legend } of all) if (legend) Object.assign(legend, { columns: 1, labelLimit: room - 60 });
  const named = all.filter((part) => part.y?.axis?.labelLimit !== undefined);
  for (const { y } of named) Object.assign(y.axis, { labelLimit: room / 2, labelExpr: LINES, labelFontSize: 10 });
  if (spec.hconcat) {
    const [{ axis }] = named.map(({ y }) => y);
    spec.vconcat = spec.hconcat;
    delete spec.hconcat;
    for (const part of spec.vconcat) {
      part.width = 0.55 * room;
      Object.assign(part.encoding.y, { title: null, axis: { ...axis, labelLimit: 0.38 * room } });
    }
  } else if (spec.vconcat) {
    for (const part of spec.vconcat) part.width = room - 70; // beside its axis
  } else if (spec.width) {
    Object.assign(spec, { width: room, autosize: { type: "fit-x", contains: "padding" } });
    if (named.length) spec.height *= 1.6;
  }
};
const draw = async (chart) => {
  const spec = JSON.parse(chart.querySelector("script").textContent);
  if (chart.clientWidth < PHONE) narrow(spec, chart.clientWidth);
  if (spec.usermeta) {
    spec.datasets = Object.fromEntries(spec.usermeta.data.map((name) => [name, unpacked(name)]));
    delete spec.usermeta;
  }
  const place = document.createElement("div");
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const options = { actions: false, renderer: "svg", tooltip: { theme: dark ? "dark" : "light" } };
  const { view } = await vegaEmbed(place, spec, options);
  views.push(view);
  if (hidden.length) await view.signal("hidden", hidden).runAsync();
  view.addEventListener("mouseover", (_, item) => pick(item?.datum?.id ?? -1));
  view.addEventListener("mouseout", () => pick(-1));
  view.addEventListener("click", (_, item) => {
    const row = rows[item?.datum?.id];
    if (row) tables.get(row.closest("table")).reveal(row);
  });
  chart.replaceChildren(place);
  chart.dataset.drawn = "1";
};
const waiting = [...document.querySelectorAll(".chart")];
const whenIdle = (call) => (window.requestIdleCallback ? requestIdleCallback(call, { timeout: 500 }) : setTimeout(call, 50));
const next = async () => {
  const inSight = waiting.findIndex((chart) => {
    const { top, bottom } = chart.getBoundingClientRect();
    return bottom > 0 && top < innerHeight;
  });
  const [chart] = waiting.splice(Math.max(inSight, 0), 1);
  if (!chart) return;
  await draw(chart);
  whenIdle(next);
};
addEventListener("beforeprint", () => pick(-1));
document.documentElement.dataset.ready = "1";
whenIdle(next);

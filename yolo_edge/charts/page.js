"use strict";
// tables sort by a click on a heading; numbers by value, the rest by text, empty fields last
for (const table of document.querySelectorAll("table.sortable")) {
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
      const body = table.tBodies[0];
      const rows = [...body.rows].sort((one, other) => {
        const [a, b] = [key(one), key(other)];
        const missing = (a === "-" || a === "") - (b === "-" || b === "");
        if (missing) return missing;
        const order = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b));
        return up ? order : -order;
      });
      body.append(...rows);
    });
  });
}
// the drawn charts become ones that answer to the mouse; "currentColor" in them follows the page, light or dark
for (const chart of document.querySelectorAll(".chart")) {
  const spec = JSON.parse(chart.querySelector("script").textContent);
  const place = document.createElement("div");
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  vegaEmbed(place, spec, { actions: false, renderer: "svg", tooltip: { theme: dark ? "dark" : "light" } }).then(() => {
    chart.replaceChildren(place);
    chart.dataset.drawn = "1";
  });
}

// Counts by class over time, as steps.

const MOST = 6; // classes that are drawn: more lines nobody can tell apart

export class Chart {
  constructor(canvas, text, colorOf) {
    this.canvas = canvas;
    this.text = text;
    this.colorOf = colorOf;
    this.entries = [];
    this.seconds = 60;
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  reset(entries, longest) {
    this.entries = entries;
    this.longest = longest;
    this.draw();
  }

  add(entry) {
    this.entries.push(entry);
    if (this.entries.length > this.longest) this.entries.shift();
    this.draw();
  }

  draw() {
    const { canvas, entries } = this;
    const unit = devicePixelRatio || 1;
    const [wide, tall] = [canvas.clientWidth, canvas.clientHeight];
    if (!wide) return;
    canvas.width = Math.round(wide * unit);
    canvas.height = Math.round(tall * unit);
    const context = canvas.getContext("2d");
    context.scale(unit, unit);
    const style = getComputedStyle(canvas);
    const [soft, line] = [style.getPropertyValue("--soft"), style.getPropertyValue("--line")];

    // a minute at least, then as long as there is something to show
    this.seconds = Math.min(Math.max(60, entries.length), this.longest || 600);
    const shown = entries.slice(-this.seconds);
    const most = new Map();
    for (const [, counts] of shown) {
      for (const [name, count] of Object.entries(counts)) most.set(name, Math.max(most.get(name) || 0, count));
    }
    const names = [...most.keys()].sort((a, b) => most.get(b) - most.get(a)).slice(0, MOST);
    const top = Math.max(1, ...most.values());
    const [left, right, above, below] = [22, 4, 8, 18];
    const x = (seconds) => left + (wide - left - right) * (1 - seconds / this.seconds);
    const y = (count) => above + (tall - above - below) * (1 - count / top);

    context.font = "11px system-ui, sans-serif";
    context.fillStyle = soft;
    context.strokeStyle = line;
    context.textAlign = "right";
    context.textBaseline = "middle";
    const step = Math.max(1, Math.ceil(top / 4));
    for (let count = 0; count <= top; count += step) {
      context.fillText(count, left - 6, y(count));
      context.beginPath();
      context.moveTo(left, Math.round(y(count)) + 0.5);
      context.lineTo(wide - right, Math.round(y(count)) + 0.5);
      context.stroke();
    }
    context.textBaseline = "alphabetic";
    context.textAlign = "left";
    context.fillText(`${this.seconds >= 120 ? `${Math.round(this.seconds / 60)} min` : `${this.seconds} s`} ago`, left, tall - 4);
    context.textAlign = "right";
    context.fillText("now", wide - right, tall - 4);
    context.lineWidth = 2;
    context.lineJoin = "round";
    const dashes = new Map(); // classes that share a colour
    names.forEach((name, i) => {
      const same = names.slice(0, i).filter((other) => this.colorOf(other) === this.colorOf(name)).length;
      dashes.set(name, same ? [6 / same, 4] : []);
    });
    for (const name of [...names].reverse()) {
      context.strokeStyle = this.colorOf(name);
      context.setLineDash(dashes.get(name));
      context.beginPath();
      shown.forEach(([, counts], i) => {
        const [from, to] = [x(shown.length - i), x(shown.length - i - 1)];
        const level = y(counts[name] || 0);
        if (i) context.lineTo(from, level);
        else context.moveTo(from, level);
        context.lineTo(to, level);
      });
      context.stroke();
    }
    this.tell(names, most, shown);
  }

  // the same in words
  tell(names, most, shown) {
    const now = shown.length ? shown[shown.length - 1][1] : {};
    const parts = names.map((name) => {
      const part = document.createElement("span");
      part.className = "legend";
      const swatch = document.createElement("span");
      swatch.className = "swatch";
      swatch.style.background = this.colorOf(name);
      part.append(swatch, `${name} ${now[name] || 0} (most ${most.get(name)})`);
      return part;
    });
    const more = most.size - names.length;
    if (more > 0) parts.push(`and ${more} more`);
    this.text.replaceChildren(...(parts.length ? parts : ["Nothing was counted in this time."]));
    this.canvas.setAttribute("aria-label", `Counts over time: ${this.text.textContent}`);
  }
}

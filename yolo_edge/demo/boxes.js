// Boxes and their labels on a canvas, as large as they are shown, so that labels stay readable on a phone.

// those of `detect --save`
const PALETTE = [
  [255, 56, 56], [207, 210, 49], [72, 249, 10], [0, 149, 255], [203, 56, 255], [139, 69, 19],
  [134, 219, 61], [0, 212, 187], [0, 194, 255], [255, 187, 187], [52, 69, 147], [255, 34, 134],
  [0, 110, 60], [255, 178, 29], [255, 55, 199], [82, 0, 133],
];
const STEP = 9;

function rgb(classId) {
  return PALETTE[(classId + STEP * Math.floor(classId / PALETTE.length)) % PALETTE.length];
}

export function color(classId) {
  const [r, g, b] = rgb(classId);
  return `rgb(${r} ${g} ${b})`;
}

function ink(classId) {
  const [r, g, b] = rgb(classId);
  return 0.299 * r + 0.587 * g + 0.114 * b > 140 ? "#000" : "#fff";
}

// `boxes`: [class id, confidence, x1, y1, x2, y2] in pixels of a source of `width` x `height`; best first
export function drawBoxes(context, boxes, names, width, height, unit) {
  const [sx, sy] = [context.canvas.width / width, context.canvas.height / height];
  const line = Math.max(2 * unit, 1);
  context.lineWidth = line;
  context.lineJoin = "round";
  const scaled = boxes.map(([id, confidence, x1, y1, x2, y2]) => [id, confidence, x1 * sx, y1 * sy, x2 * sx, y2 * sy]);
  for (const [id, , x1, y1, x2, y2] of [...scaled].reverse()) {
    context.strokeStyle = color(id);
    context.strokeRect(x1, y1, x2 - x1, y2 - y1);
  }
  context.font = `600 ${Math.round(12.5 * unit)}px system-ui, sans-serif`;
  context.textBaseline = "middle";
  const [margin, tall] = [4 * unit, Math.round(18 * unit)];
  const taken = [];
  for (const [id, confidence, x1, y1, , y2] of scaled) {
    const text = `${names[id]} ${confidence.toFixed(2)}`;
    const wide = context.measureText(text).width + 2 * margin;
    const left = Math.max(0, Math.min(x1 - line / 2, context.canvas.width - wide));
    const tops = [y1 - tall, y1, y2, y2 - tall].map((y) => Math.max(0, Math.min(y, context.canvas.height - tall)));
    const free = tops.find((y) => !taken.some((o) =>
      left < o[0] + o[2] && o[0] < left + wide && y < o[1] + tall && o[1] < y + tall));
    const top = free ?? tops[0];
    taken.push([left, top, wide]);
    context.fillStyle = color(id);
    context.fillRect(left, top, wide, tall);
    context.fillStyle = ink(id);
    context.fillText(text, left + margin, top + tall / 2 + unit / 2);
  }
}

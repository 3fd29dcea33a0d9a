// The connection: pictures come only when they are asked for, so that a slow page gets fewer and never old ones.

const AHEAD = 2; // one is drawn while the next comes

export class Live extends EventTarget {
  constructor() {
    super();
    this.wanted = true;
    this.pause = 500;
    this.connect();
  }

  connect() {
    const address = new URL("live", location.href);
    address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
    this.socket = new WebSocket(address);
    this.socket.binaryType = "arraybuffer";
    this.asked = 0;
    this.socket.addEventListener("open", () => {
      this.pause = 500;
      this.ask();
    });
    this.socket.addEventListener("message", (event) => {
      if (typeof event.data === "string") {
        const message = JSON.parse(event.data);
        if (message.type === "end") this.ended = true;
        this.tell(message.type, message);
      } else {
        this.asked -= 1;
        this.take(event.data);
      }
    });
    this.socket.addEventListener("close", () => {
      if (this.ended) return;
      this.tell("away", {});
      setTimeout(() => this.connect(), this.pause);
      this.pause = Math.min(2 * this.pause, 5000);
    });
  }

  async take(data) {
    const length = new DataView(data).getUint32(0, true);
    const header = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
    const picture = new Blob([new Uint8Array(data, 4 + length)], { type: "image/jpeg" });
    const bitmap = await createImageBitmap(picture);
    // a page that nobody sees draws nothing, and so asks for nothing
    requestAnimationFrame(() => {
      this.tell("frame", { header, bitmap });
      this.ask();
    });
  }

  ask() {
    const more = AHEAD - this.asked;
    if (!this.wanted || more < 1 || this.socket.readyState !== WebSocket.OPEN) return;
    this.asked += more;
    this.socket.send(JSON.stringify({ ready: more }));
  }

  want(wanted) {
    this.wanted = wanted;
    this.ask();
  }

  run(models) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify({ run: models }));
  }

  tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

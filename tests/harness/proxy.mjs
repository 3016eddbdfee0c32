// A TCP proxy that misbehaves on request, between a client and the relay.
//
//   cut        every connection ends, by RST or FIN; new ones pass
//   down       cut, and refuse new ones until `heal`
//   stall      keep every socket, forward nothing until `heal`; then everything arrives, late
//   half-open  the connections of this moment go silent for good in one or both directions, and
//              neither end is told; new ones pass. What a NAT or a sleeping phone does.
//
// Server-to-client bytes are searched for marks. WebSocket compression is declined on the way,
// because compressed bytes show nothing.
import { connect, createServer } from "node:net";
import { sleep } from "./wait.mjs";

export class Proxy {
  #server;
  #links = new Set();
  #isDown = false;
  #isStalled = false;
  #marks = new Map();
  /** Every fault so far: { kind, at, links }. */
  faults = [];
  bytes = { up: 0, down: 0 };
  accepted = 0;
  /** Told of a mark before the client hears it. */
  onMark = () => {};

  /** Forwards to `target` (a port on this machine); counts `marks` in what the server says. */
  static async start(target, marks = ["<resumed", "<enabled"]) {
    const proxy = new Proxy();
    proxy.target = target;
    for (const mark of marks) proxy.#marks.set(mark, 0);
    proxy.#server = createServer({ pauseOnConnect: true }, (client) => proxy.#accept(client));
    await new Promise((resolve) => proxy.#server.listen(0, "127.0.0.1", resolve));
    proxy.port = proxy.#server.address().port;
    return proxy;
  }

  get origin() {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Connections that both ends hold. */
  get links() {
    return this.#links.size;
  }

  /** How often the server has said `mark`. */
  seen(mark) {
    return this.#marks.get(mark);
  }

  cut({ rst = true } = {}) {
    this.#note(rst ? "cut by RST" : "cut by FIN");
    for (const link of [...this.#links]) link.end(rst);
  }

  down() {
    this.#isDown = true;
    this.cut();
  }

  stall() {
    this.#note("stall");
    this.#isStalled = true;
    for (const link of this.#links) link.pause();
  }

  /** `direction`: "up" (the relay hears nothing), "down" (the client does not), or "both". */
  halfOpen(direction = "both") {
    this.#note(`half-open ${direction}`);
    for (const link of this.#links) link.silence(direction);
  }

  heal() {
    this.#isDown = false;
    this.#isStalled = false;
    for (const link of this.#links) link.resume();
  }

  async stop() {
    for (const link of [...this.#links]) link.end(true);
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #note(kind) {
    this.faults.push({ kind, at: Date.now(), links: this.#links.size });
  }

  #accept(client) {
    this.accepted += 1;
    if (this.#isDown) {
      client.resetAndDestroy();
      return;
    }
    const link = new Link(this, client);
    this.#links.add(link);
    if (this.#isStalled) link.pause();
    else link.resume();
  }

  /** @internal */
  gone(link) {
    this.#links.delete(link);
  }

  /** @internal Counts marks in one chunk; `tail` is the end of the chunk before. */
  search(tail, chunk) {
    const text = tail + chunk.toString("latin1");
    for (const [mark, count] of this.#marks) {
      let at = text.indexOf(mark);
      let found = 0;
      for (; at >= 0; at = text.indexOf(mark, at + 1)) if (at + mark.length > tail.length) found += 1;
      this.#marks.set(mark, count + found);
      if (found > 0) this.onMark(mark);
    }
    return text.slice(-64);
  }
}

class Link {
  #proxy;
  #client;
  #server;
  #silent = { up: false, down: false };
  #isPaused = true;
  #isFirst = true;
  #tail = "";

  constructor(proxy, client) {
    this.#proxy = proxy;
    this.#client = client;
    this.#server = connect({ port: proxy.target, host: "127.0.0.1" });
    // With no listener, the kernel may connect a socket to itself and so occupy the port.
    this.#server.once("connect", () => {
      if (this.#server.localPort === proxy.target) this.end(true);
    });
    this.#server.pause();
    this.#join(client, this.#server, "up");
    this.#join(this.#server, client, "down");
  }

  pause() {
    this.#isPaused = true;
    this.#client.pause();
    this.#server.pause();
  }

  resume() {
    this.#isPaused = false;
    this.#client.resume();
    this.#server.resume();
  }

  silence(direction) {
    if (direction !== "down") this.#silent.up = true;
    if (direction !== "up") this.#silent.down = true;
    this.resume();
  }

  end(rst) {
    this.#proxy.gone(this);
    for (const socket of [this.#client, this.#server]) {
      if (rst) socket.resetAndDestroy();
      else socket.destroySoon();
    }
  }

  #join(from, to, direction) {
    from.on("data", (chunk) => {
      if (this.#silent[direction]) return;
      this.#proxy.bytes[direction] += chunk.length;
      if (direction === "down") this.#tail = this.#proxy.search(this.#tail, chunk);
      else chunk = this.#uncompressed(chunk);
      if (!to.destroyed && !to.write(chunk) && !this.#isPaused) {
        from.pause();
        to.once("drain", () => this.#isPaused || from.resume());
      }
    });
    from.on("error", () => {});
    from.on("close", () => this.#closed(from, to));
    from.on("end", () => this.#silent.up || this.#silent.down || to.end());
  }

  // A half-open link hides even the end of one side from the other.
  #closed(from, to) {
    if (this.#silent.up || this.#silent.down) {
      if (to.destroyed) this.#proxy.gone(this);
      return;
    }
    this.#proxy.gone(this);
    if (from.errored) to.resetAndDestroy();
    else to.destroySoon();
  }

  #uncompressed(chunk) {
    if (!this.#isFirst) return chunk;
    this.#isFirst = false;
    const text = chunk.toString("latin1").replace(/sec-websocket-extensions:[^\r]*\r\n/i, "");
    return Buffer.from(text, "latin1");
  }
}

/** Breaks `proxy` at random while `isBusy()`, heals it each time; answers the faults it made. */
export async function breakAtRandom(proxy, random, { kinds, everyMs, lengthMs, times, isBusy }) {
  const made = [];
  while (made.length < times && isBusy()) {
    await sleep(random.between(...everyMs));
    if (!isBusy()) break;
    const kind = random.pick(kinds);
    made.push(kind);
    FAULTS[kind](proxy, random);
    await sleep(random.between(...lengthMs));
    proxy.heal();
  }
  return made;
}

const FAULTS = {
  cut: (proxy, random) => proxy.cut({ rst: random.next() < 0.5 }),
  down: (proxy) => proxy.down(),
  stall: (proxy) => proxy.stall(),
  "half-open": (proxy, random) => proxy.halfOpen(random.pick(["up", "down", "both"])),
};


// A foreign client among the devices: its own stream management, no origin-ids, no carbons. It
// shows what it is given, so a message that comes again on a new session is recognised here.
import { bare, passwordOf } from "../harness/wire.mjs";
import { xmppUrl } from "../harness/relay.mjs";
import { bodyOf, token } from "./text.mjs";

const LOOK_MS = 500;
/** Neither library notices a half-open link by itself; with neither acks nor messages it is cut. */
const SILENCE_MS = 8_000;

export class Guest {
  counts = { written: 0 };
  isAwake = true;
  #acked = new Set();
  #confirmed = new Set();
  #heardAt = Date.now();
  #looks;

  constructor({ Library, user, proxy, books, trace, hint }) {
    Object.assign(this, { user, proxy, books, trace });
    this.name = `${user}/1`;
    this.account = bare(user);
    const url = xmppUrl(proxy.port, hint ? this.account : undefined);
    this.client = new Library({ user, password: passwordOf(user), url });
    this.client.onMessage = (body, from) => this.#shown(body, from);
  }

  /** What the library has not seen acked. */
  get owed() {
    return this.counts.written - this.#acked.size;
  }

  async start() {
    await this.client.start();
    this.#looks = setInterval(() => this.#look(), LOOK_MS);
  }

  async stop() {
    clearInterval(this.#looks);
    await this.client.stop();
  }

  write(to) {
    const name = token("m", this.name, (this.counts.written += 1));
    this.books.attempt(this.name, name, bare(to));
    this.client.send(bare(to), bodyOf(name), { id: name, request: true });
    return name;
  }

  /** Tells the books what the library knows by now. */
  #look() {
    for (const id of this.client.acknowledged) {
      if (this.#acked.has(id)) continue;
      this.#acked.add(id);
      this.#heardAt = Date.now();
      this.books.acknowledge(id);
    }
    // The library tells the id and not who confirmed.
    for (const id of this.client.receipts) {
      if (this.#confirmed.has(id)) continue;
      this.#confirmed.add(id);
      this.books.confirmed(this.name, id);
    }
    if (Date.now() - this.#heardAt < SILENCE_MS) return;
    this.#heardAt = Date.now();
    this.trace.event("its silent link is cut", this.name);
    this.client.kill();
  }

  #shown(body, from) {
    this.#heardAt = Date.now();
    const [name] = body.split(" ");
    const session = this.client.sessions;
    this.books.row(this.name, { token: name, from: from.split("/")[0], body, session });
  }
}

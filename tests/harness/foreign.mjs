// Two independent clients behind one face: @xmpp/client and strophe.js, unmodified, each with its
// own stream management. What they do to survive a cut is theirs; this only reconnects and counts.
//
// A text waits here until the library takes it, because both throw away what they are given while
// no stream is up.
import { client as xmppClient, xml } from "@xmpp/client";
import { randomUUID } from "node:crypto";
import { $build, $pres, Strophe } from "strophe.js";
import { WebSocket } from "ws";
import { DOMAIN } from "./env.mjs";
import { NS } from "./xml.mjs";
import { until } from "./wait.mjs";

// As in a browser: one event per turn. Several frames in one turn let @xmpp/client count stanzas
// before it has seen the `<enabled/>` in front of them.
globalThis.WebSocket = class extends WebSocket {
  constructor(url, protocols) {
    super(url, protocols, { allowSynchronousEvents: false });
    // A browser's socket has no unhandled errors; this one throws them from a timer.
    this.on("error", () => {});
  }

  // strophe.js answers a challenge of a connection that is gone on the one that is being opened,
  // from a promise that nobody holds.
  send(data) {
    if (this.readyState !== WebSocket.CONNECTING) super.send(data);
  }
};
Strophe.setLogLevel(Strophe.LogLevel.FATAL);

const RECONNECT_MS = 200;
const STUCK_MS = 8_000;

class Foreign {
  /** Bodies in order of arrival, each `{ from, body, id }`. */
  received = [];
  onMessage = () => {};
  /** Ids of own messages that a receipt has named. */
  receipts = new Set();
  /** Whether to answer XEP-0184 requests. */
  answersRequests = false;
  sessions = 0;
  resumptions = 0;
  isUp = false;
  _waiting = [];
  _sent = [];

  constructor({ user, password, url }) {
    this.account = `${user}@${DOMAIN}`;
    Object.assign(this, { user, password, url });
  }

  async start() {
    this._start();
    await until(`${this.user} to be online`, () => this.isUp, { timeoutMs: 15_000 });
    return this;
  }

  /** Takes a text for `to`; it leaves as soon as there is a stream. */
  send(to, body, { id = randomUUID(), request = false } = {}) {
    this._sent.push(id);
    this._waiting.push({ to, body, id, request });
    this._flush();
    return id;
  }

  /** Ids of messages that the relay has acknowledged. */
  get acknowledged() {
    const open = new Set([...this._unacked(), ...this._waiting.map(({ id }) => id)]);
    return this._sent.filter((id) => !open.has(id));
  }

  _took({ from, body, id, asks, receipt }) {
    if (receipt) this.receipts.add(receipt);
    if (body === undefined) return;
    this.received.push({ from, body, id });
    this.onMessage(body, from);
    if (asks && id && this.answersRequests) this._receipt(from, id);
  }
}

export class XmppJs extends Foreign {
  static label = "@xmpp/client";
  #entity;
  #watch;
  // Given to the library and not yet in its own queue: neither waiting nor acknowledged.
  #leaving = new Set();

  _start() {
    const { user, password, url } = this;
    const entity = xmppClient({ service: url, domain: DOMAIN, username: user, password, resource: "xmppjs" });
    this.#entity = entity;
    entity.timeout = 5_000;
    entity.reconnect.delay = RECONNECT_MS;
    entity.streamManagement.preferredMaximum = 600;
    entity.on("error", (error) => (this.lastError = error));
    entity.on("disconnect", () => (this.isUp = false));
    // A stream that breaks before stream management is on is not up; `#unstick` sees to it.
    entity.on("online", () => this.#greet().catch((error) => (this.lastError = error)));
    entity.on("stanza", (stanza) => this.#stanza(stanza));
    entity.streamManagement.on("resumed", () => {
      this.resumptions += 1;
      setImmediate(() => this.#ready());
    });
    entity.streamManagement.on("fail", (stanza) => this.#again(stanza));
    entity.start().catch((error) => (this.lastError = error));
    this.#watch = this.#unstick();
  }

  /** Ends the TCP connection under the library. */
  kill() {
    this.#entity.socket?.socket?.terminate();
  }

  async stop() {
    clearInterval(this.#watch);
    this.#entity.reconnect.stop();
    // Resolves late when the other end is gone; nobody waits for a farewell.
    this.#entity.stop().catch(() => {});
    setTimeout(() => this.kill(), 500);
  }

  async #greet() {
    this.sessions += 1;
    await this.#entity.send(xml("presence"));
    await until("stream management", () => this.#entity.streamManagement.enabled);
    this.#ready();
  }

  #ready() {
    this.isUp = true;
    this._flush();
  }

  #stanza(stanza) {
    if (!stanza.is("message") || stanza.attrs.type === "error") return;
    this._took({
      from: stanza.attrs.from,
      id: stanza.attrs.id,
      body: stanza.getChildText("body") ?? undefined,
      asks: stanza.getChild("request", NS.receipts) !== undefined,
      receipt: stanza.getChild("received", NS.receipts)?.attrs.id,
    });
  }

  _flush() {
    if (!this.isUp) return;
    for (const waiting of this._waiting.splice(0)) {
      const { to, body, id, request } = waiting;
      const stanza = xml("message", { to, id, type: "chat" }, xml("body", {}, body));
      if (request) stanza.append(xml("request", { xmlns: NS.receipts }));
      this.#leaving.add(id);
      this.#entity
        .send(stanza)
        // Refused before it reached the library's own queue.
        .catch(() => this._waiting.push(waiting))
        .finally(() => this.#leaving.delete(id));
    }
  }

  #again(stanza) {
    if (!stanza.is("message") || !stanza.getChild("body")) return;
    const { to, id } = stanza.attrs;
    // Word for word: without an origin-id, a repeat is known by its payload.
    const request = stanza.getChild("request", NS.receipts) !== undefined;
    this._waiting.push({ to, id, body: stanza.getChildText("body"), request });
  }

  _receipt(to, id) {
    const stanza = xml("message", { to, type: "chat" }, xml("received", { xmlns: NS.receipts, id }));
    this.#entity.send(stanza).catch(() => {});
  }

  _unacked() {
    const queued = this.#entity.streamManagement.outbound_q.map(({ stanza }) => stanza.attrs.id);
    return [...queued, ...this.#leaving];
  }

  // Its reconnection gives up silently when an opening times out on a socket that stays open.
  #unstick() {
    let since = Date.now();
    return setInterval(() => {
      if (this.isUp) since = Date.now();
      if (Date.now() - since < STUCK_MS) return;
      since = Date.now();
      this.kill();
    }, 500);
  }
}

export class StropheJs extends Foreign {
  static label = "strophe.js";
  #connection;
  #isOver = false;

  _start() {
    this.#connection = new Strophe.Connection(this.url, { enableStreamManagement: true });
    this.#connect();
  }

  kill() {
    this.#connection._proto.socket?.terminate();
  }

  async stop() {
    this.#isOver = true;
    this.#connection.disconnect();
  }

  #connect() {
    if (this.#isOver) return;
    this.#connection.reset();
    this.#connection.connect(`${this.account}/strophe`, this.password, (status, condition) => {
      if (status === Strophe.Status.CONNECTED) this.#connected();
      if (status === Strophe.Status.AUTHFAIL) this.lastError = new Error(`authentication: ${condition}`);
      if (status === Strophe.Status.DISCONNECTED) {
        this.isUp = false;
        setTimeout(() => this.#connect(), RECONNECT_MS);
      }
    });
  }

  #connected() {
    const connection = this.#connection;
    connection.addHandler((stanza) => (this.#stanza(stanza), true), null, "message");
    if (connection.hasResumed()) {
      this.resumptions += 1;
    } else {
      this.sessions += 1;
      connection.send($pres());
    }
    this.isUp = true;
    this._flush();
  }

  #stanza(stanza) {
    if (stanza.getAttribute("type") === "error") return;
    const child = (name) => [...stanza.childNodes].find((node) => node.nodeName === name);
    this._took({
      from: stanza.getAttribute("from"),
      id: stanza.getAttribute("id"),
      body: child("body")?.textContent,
      asks: child("request") !== undefined,
      receipt: child("received")?.getAttribute("id"),
    });
  }

  _flush() {
    if (!this.isUp) return;
    for (const { to, body, id, request } of this._waiting.splice(0)) {
      const message = $build("message", { xmlns: NS.client, to, id, type: "chat" }).c("body").t(body).up();
      if (request) message.c("request", { xmlns: NS.receipts }).up();
      this.#connection.send(message);
    }
    this.#connection.flush();
  }

  _receipt(to, id) {
    const message = $build("message", { xmlns: NS.client, to, type: "chat" });
    this.#connection.send(message.c("received", { xmlns: NS.receipts, id }));
  }

  _unacked() {
    return this.#connection.sm.state.unacked.map(({ stanza }) => / id="([^"]*)"/.exec(stanza)?.[1]);
  }
}

export const LIBRARIES = [XmppJs, StropheJs];

// Three independent clients behind one face: @xmpp/client, strophe.js and stanza, unmodified, each
// with its own stream management. What they do to survive a cut is theirs; this only reconnects and
// counts. Where one of them cannot do without help, its class says so.
//
// A text waits here until the library takes it, because they throw away what they are given while
// no stream is up.
import { client as xmppClient, xml } from "@xmpp/client";
import { createHash, randomUUID } from "node:crypto";
import { createClient as stanzaClient } from "stanza";
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
  _sent = new Map();

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
    const message = { to, body, id, request, place: this._sent.size };
    this._sent.set(id, message);
    this._waiting.push(message);
    this._flush();
    return id;
  }

  /** Ends the TCP connection under the library. */
  kill() {
    this._socket?.terminate();
  }

  /** The library's socket takes in nothing more until `thaw`. What it has not taken in waits. */
  freeze() {
    this._socket.pause();
  }

  thaw() {
    this._socket.resume();
  }

  /** Ids of messages that the relay has acknowledged. */
  get acknowledged() {
    const open = new Set([...this._unacked(), ...this._waiting.map(({ id }) => id)]);
    return [...this._sent.keys()].filter((id) => !open.has(id));
  }

  // What the library gave up leaves again before anything that was written after it, and word for
  // word: without an origin-id, a repeat is known by its payload.
  _again(id) {
    const message = this._sent.get(id);
    if (message === undefined) return;
    this._waiting.push(message);
    this._waiting.sort((a, b) => a.place - b.place);
  }

  _took({ from, body, id, asks, receipt }) {
    if (receipt) this.receipts.add(receipt);
    if (body === undefined) return;
    this.received.push({ from, body, id });
    this.onMessage(body, from);
    if (asks && id && this.answersRequests) this._receipt(from, id);
  }
}

/** A UUID of version 4 that is always the same for the same name. */
function deviceId(name) {
  const hex = createHash("sha256").update(name).digest("hex");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}

export class XmppJs extends Foreign {
  static label = "@xmpp/client";
  #entity;
  #watch;
  // Given to the library and not yet in its own queue: neither waiting nor acknowledged.
  #leaving = new Set();
  // Receipts for what came before `<resumed/>` was taken in.
  #owed = [];

  _start() {
    const { user, password, url } = this;
    // It signs in by XEP-0388. Whoever starts it anew is the same device.
    const userAgent = xml("user-agent", { id: deviceId(user) }, xml("software", {}, "xmpp.js"));
    const entity = xmppClient({ service: url, domain: DOMAIN, username: user, password, resource: "xmppjs", userAgent });
    this.#entity = entity;
    entity.timeout = 5_000;
    entity.reconnect.delay = RECONNECT_MS;
    entity.streamManagement.preferredMaximum = 600;
    entity.on("error", (error) => (this.lastError = error));
    entity.on("disconnect", () => {
      this.isUp = false;
      // A negotiation that the cut left unanswered listens on: it would take the next <resumed/> for
      // its own, send everything twice and count the acks against what is still under way (0.14.0).
      entity.removeAllListeners("nonza");
    });
    // A stream that breaks before stream management is on is not up; `#unstick` sees to it.
    entity.on("online", () => this.#greet().catch((error) => (this.lastError = error)));
    entity.on("stanza", (stanza) => this.#stanza(stanza));
    entity.streamManagement.on("resumed", () => {
      this.resumptions += 1;
      setImmediate(() => this.#ready());
    });
    entity.streamManagement.on("fail", (stanza) => this._again(stanza.attrs.id));
    entity.start().catch((error) => (this.lastError = error));
    this.#watch = this.#unstick();
  }

  get stream() {
    const { id, inbound } = this.#entity.streamManagement;
    return { smId: id, handled: inbound };
  }

  get _socket() {
    return this.#entity.socket?.socket;
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
    for (const { to, body, id, request } of this._waiting.splice(0)) {
      const stanza = xml("message", { to, id, type: "chat" }, xml("body", {}, body));
      if (request) stanza.append(xml("request", { xmlns: NS.receipts }));
      this.#leaving.add(id);
      this.#entity
        .send(stanza)
        // Refused before it reached the library's own queue.
        .catch(() => this._again(id))
        .finally(() => this.#leaving.delete(id));
    }
    for (const [to, id] of this.#owed.splice(0)) this._receipt(to, id);
  }

  // What is replayed behind a <resumed/> inside a <success/> is there before the library has taken that
  // in. What is sent then is in no queue of its own, and the next ack counts it all the same (0.14.0).
  _receipt(to, id) {
    if (!this.isUp) {
      this.#owed.push([to, id]);
      return;
    }
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

  get stream() {
    const { id, hIn } = this.#connection.sm.state;
    return { smId: id, handled: hIn };
  }

  get _socket() {
    return this.#connection._proto.socket;
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
      this.#ready();
    } else {
      this.sessions += 1;
      connection.send($pres());
      // It calls itself connected before it repeats what a lost session left over: whatever is written
      // at once overtakes that (5.0.0).
      connection.sm.onEnabled = () => this.#ready();
    }
  }

  #ready() {
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

// A client for each connection, and the session handed on from one to the next: a client that is cut
// off amid a resumption drops the session, although the relay still has it (12.22.1).
export class StanzaJs extends Foreign {
  static label = "stanza";
  #client;
  #isOver = false;
  // As the library last told it, until the relay says that it is gone.
  #session;
  // From being given to the library until the relay's ack.
  #open = new Set();

  _start() {
    this.#connect();
  }

  get stream() {
    const { id, handled } = this.#client.sm;
    return { smId: id, handled };
  }

  get _socket() {
    return this.#client.transport?.socket;
  }

  async stop() {
    this.#isOver = true;
    await this.#client.disconnect();
  }

  #connect() {
    if (this.#isOver) return;
    const client = stanzaClient({
      jid: this.account,
      password: this.password,
      resource: "stanza",
      // With an address in hand it does not ask for host-meta, which is read over https alone.
      transports: { websocket: this.url, bosh: false },
      sendReceipts: false,
    });
    this.#client = client;
    if (this.#session) client.sm.load(this.#session);
    client.sm.cache((session) => this.#keep(session));
    // It forgets what it sends again: of a link that breaks once more before the relay has it, nothing
    // would be left, and later acks would be counted against the wrong messages (12.22.1).
    client.sm.on("resend", ({ kind, stanza }) => client.sm.unacked.push([kind, stanza]));
    client.on("sm", ({ type }) => {
      if (type === "failed") this.#session = undefined;
    });
    client.on("session:started", () => this.#greet().catch((error) => (this.lastError = error)));
    client.on("stream:management:resumed", () => {
      this.resumptions += 1;
      this.#ready();
    });
    client.on("connected", () => this.#guard(client.transport));
    client.on("auth:failed", () => (this.lastError = new Error("authentication")));
    client.on("message", (message) => this.#message(message));
    client.on("message:acked", ({ id }) => this.#open.delete(id));
    client.on("message:failed", ({ id }) => this.#failed(id));
    client.once("disconnected", () => {
      this.isUp = false;
      setTimeout(() => this.#connect(), RECONNECT_MS);
    });
    client.connect();
  }

  // One write to a socket that is closing, and the transport is destroyed without telling the client,
  // which waits for ever; or the write is refused in a promise that nobody holds (12.22.1).
  #guard(transport) {
    const send = transport.send;
    transport.send = async (...stanza) => {
      if (transport.socket?.readyState === WebSocket.OPEN) await send.apply(transport, stanza);
    };
  }

  #keep({ id, handled, lastAck, unacked, jid, allowResume }) {
    if (id) this.#session = { id, handled, lastAck, unacked: [...unacked], jid, allowResume };
  }

  #failed(id) {
    const isKept = this.#session?.unacked.some(([, stanza]) => stanza.id === id);
    if (!isKept && this.#open.delete(id)) this._again(id);
  }

  async #greet() {
    this.sessions += 1;
    this.#client.sendPresence();
    await until("stream management", () => this.#client.sm.started);
    this.#ready();
  }

  #ready() {
    this.isUp = true;
    this._flush();
  }

  #message({ type, from, id, body, receipt }) {
    if (type === "error") return;
    const asks = receipt?.type === "request";
    this._took({ from, id, body, asks, receipt: receipt?.type === "received" ? receipt.id : undefined });
  }

  _flush() {
    if (!this.isUp) return;
    for (const { to, body, id, request } of this._waiting.splice(0)) {
      this.#open.add(id);
      this.#client.sendMessage({ to, id, type: "chat", body, ...(request && { receipt: { type: "request" } }) });
    }
  }

  _receipt(to, id) {
    this.#client.sendMessage({ to, type: "chat", receipt: { type: "received", id } });
  }

  _unacked() {
    return [...this.#open];
  }
}

export const LIBRARIES = [XmppJs, StropheJs, StanzaJs];

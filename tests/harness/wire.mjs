// A client of RFC 7395 that does exactly what a test tells it, with nothing repeated or hidden.
//
// Incoming frames wait in a queue until an `expect` takes them. `<r/>` is answered with what has
// been received, unless `answers` is false; nothing else happens by itself.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { WebSocket } from "ws";
import { DOMAIN } from "./env.mjs";
import { Scram, Token } from "./scram.mjs";
import { Frame, NS, escape } from "./xml.mjs";

const TIMEOUT_MS = 5_000;
const TRANSCRIPT_MAX = 400;

export class Wire {
  #socket;
  #queue = [];
  #waiting = new Set();
  #transcript = [];
  #countsIn = false;
  /** Whether `<r/>` is answered. */
  answers = true;
  /** Stanzas received since `<enabled/>`: our `h`. */
  handled = 0;
  /** Stanzas sent since `<enable/>`. */
  sent = 0;
  /** Messages with a body, in order of arrival, whether or not a test has taken them. */
  bodies = [];
  onBody = () => {};
  /** Sees every frame as it comes. One it answers `true` to is its own: it is neither queued nor answered. */
  onFrame = () => false;
  /** Sees every text before it is read. One it answers `true` to goes no further, and is not counted. */
  onText = () => false;

  /** Opens the WebSocket and nothing more. */
  static async connect(url, { headers, protocol = "xmpp" } = {}) {
    const wire = new Wire();
    wire.#socket = new WebSocket(url, protocol, { headers, perMessageDeflate: false, handshakeTimeout: 10_000 });
    wire.closed = new Promise((resolve) => {
      wire.#socket.once("close", (code, reason) => resolve({ code, reason: reason.toString() }));
    });
    wire.closed.then(({ code }) => {
      wire.isClosed = true;
      wire.#note("×", `closed with ${code}`);
      for (const wake of [...wire.#waiting]) wake();
    });
    await new Promise((resolve, reject) => {
      wire.#socket.once("open", resolve);
      wire.#socket.once("error", reject);
    });
    wire.#socket.on("error", () => {});
    wire.#socket.on("message", (data, isBinary) => wire.#receive(data, isBinary));
    return wire;
  }

  /**
   * Connects and signs in. `hint: false` goes through the lobby. `resume`: { id, h }. `sm: false`
   * leaves stream management off, `presence: false` stays invisible.
   */
  static async login(relay, user, options = {}) {
    const { hint = true, mechanism, password = passwordOf(user) } = options;
    const account = `${user}@${DOMAIN}`;
    const wire = await Wire.connect(relay.url(hint ? account : undefined));
    if (options.answers === false) wire.answers = false;
    Object.assign(wire, { user, account });
    await wire.open();
    await wire.authenticate(user, password, mechanism);
    if (options.resume) return wire;
    await wire.bind(options.resource);
    if (options.sm !== false) await wire.enable();
    if (options.presence !== false) wire.send("<presence xmlns='jabber:client'/>");
    return wire;
  }

  /** Creates the account on a connection of its own. */
  static async register(relay, user, { hint = true, password = passwordOf(user) } = {}) {
    const wire = await Wire.connect(relay.url(hint ? `${user}@${DOMAIN}` : undefined));
    await wire.open();
    const answer = await wire.iq(
      "set",
      `<query xmlns='${NS.register}'><username>${escape(user)}</username><password>${escape(password)}</password></query>`,
    );
    await wire.close();
    return answer;
  }

  /** Creates an account that no other test has; answers its name. */
  static async registered(relay, name) {
    const user = someone(name);
    await Wire.register(relay, user);
    return user;
  }

  /** `<open/>` there and back, and the features. */
  async open({ from } = {}) {
    const sender = from === undefined ? "" : ` from='${escape(from)}'`;
    this.send(`<open xmlns='${NS.framing}' to='${DOMAIN}'${sender} version='1.0'/>`);
    this.header = await this.expect((frame) => frame.is("open", NS.framing), "<open/>");
    this.features = await this.expect((frame) => frame.is("features", NS.streams), "<features/>");
    return this.features;
  }

  async authenticate(user, password, mechanism = "SCRAM-SHA-256") {
    const scram = new Scram(mechanism, user, password);
    const base64 = (text) => Buffer.from(text).toString("base64");
    const text = (frame) => Buffer.from(frame.text, "base64").toString();
    const answer = () => this.expect((frame) => frame.ns === NS.sasl, "an answer to SASL");
    this.send(`<auth xmlns='${NS.sasl}' mechanism='${mechanism}'>${base64(scram.first())}</auth>`);
    const challenge = await answer();
    if (challenge.is("failure")) throw new SaslFailure(challenge);
    this.send(`<response xmlns='${NS.sasl}'>${base64(scram.final(text(challenge)))}</response>`);
    const verdict = await answer();
    if (verdict.is("failure")) throw new SaslFailure(verdict);
    assert(verdict.is("success") && scram.verify(text(verdict)), `the relay did not prove itself: ${verdict.xml}`);
    await this.open();
  }

  /**
   * XEP-0388 on an open stream, by password, or by `token`. `wishes` is what stands beside the initial
   * response. Answers `<success/>`, and knows what it says of the session.
   */
  async authenticate2(user, { password = passwordOf(user), token, mechanism = "SCRAM-SHA-256", wishes = "" } = {}) {
    const side = token === undefined ? new Scram(mechanism, user, password) : new Token(user, token);
    const base64 = (bytes) => Buffer.from(bytes).toString("base64");
    const answer = () => this.expect((frame) => frame.ns === NS.sasl2, "an answer to SASL2");
    this.send(
      `<authenticate xmlns='${NS.sasl2}' mechanism='${token === undefined ? mechanism : "HT-SHA-256-NONE"}'>` +
        `<initial-response>${base64(side.first())}</initial-response>${wishes}</authenticate>`,
    );
    let verdict = await answer();
    if (verdict.is("challenge")) {
      const challenge = Buffer.from(verdict.text, "base64").toString();
      this.send(`<response xmlns='${NS.sasl2}'>${base64(side.final(challenge))}</response>`);
      verdict = await answer();
    }
    if (verdict.is("failure")) throw new SaslFailure(verdict);
    const proof = Buffer.from(verdict.get("additional-data", NS.sasl2).text, "base64");
    assert(side.verify(token === undefined ? proof.toString() : proof), `the relay did not prove itself: ${verdict.xml}`);
    this.jid = verdict.get("authorization-identifier", NS.sasl2).text;
    const enabled = verdict.get("bound", NS.bind2)?.get("enabled", NS.sm);
    if (enabled !== undefined) this.#enabled(enabled);
    if (verdict.get("resumed", NS.sm) !== undefined) this.#countsIn = true;
    else this.features = await this.expect((frame) => frame.is("features", NS.streams), "<features/>");
    return verdict;
  }

  #enabled(enabled) {
    this.smId = enabled.attrs.id;
    this.#countsIn = true;
    this.handled = 0;
    this.sent = 0;
  }

  async bind(resource) {
    const wish = resource === undefined ? "" : `<resource>${escape(resource)}</resource>`;
    const answer = await this.iq("set", `<bind xmlns='${NS.bind}'>${wish}</bind>`);
    assert.equal(answer.attrs.type, "result", answer.xml);
    this.jid = answer.get("bind", NS.bind).get("jid").text;
    return this.jid;
  }

  async enable({ max } = {}) {
    const wish = max === undefined ? "" : ` max='${max}'`;
    this.sent = 0;
    this.send(`<enable xmlns='${NS.sm}' resume='true'${wish}/>`);
    const enabled = await this.expect((frame) => frame.is("enabled", NS.sm), "<enabled/>");
    this.smId = enabled.attrs.id;
    return enabled;
  }

  /** After `login` with `resume`: answers `<resumed/>` or `<failed/>`. */
  async resume(previous, h = previous.handled) {
    this.handled = h;
    this.send(`<resume xmlns='${NS.sm}' h='${h}' previd='${escape(previous.smId)}'/>`);
    const wanted = (frame) => frame.ns === NS.sm && ["resumed", "failed"].includes(frame.name);
    const answer = await this.expect(wanted, "an answer to <resume/>");
    if (answer.is("resumed")) Object.assign(this, { jid: previous.jid, smId: previous.smId, sent: previous.sent });
    return answer;
  }

  /** Sends one text message as it stands. */
  send(xml) {
    if (/^<(message|presence|iq)[\s/>]/.test(xml)) this.sent += 1;
    this.#note("→", xml);
    this.#socket.send(xml);
  }

  sendBinary(bytes) {
    this.#note("→", `${bytes.length} binary bytes`);
    this.#socket.send(bytes, { binary: true });
  }

  /** A chat message; answers its `id`. `origin: true` makes the id its origin-id too. */
  message(to, body, { id = randomUUID(), origin, type = "chat", extra = "" } = {}) {
    const name = origin === true ? id : origin;
    const origins = name === undefined ? "" : `<origin-id xmlns='${NS.sid}' id='${escape(name)}'/>`;
    this.send(
      `<message xmlns='jabber:client' to='${escape(to)}' type='${type}' id='${escape(id)}'>` +
        `${body === null ? "" : `<body>${escape(body)}</body>`}${origins}${extra}</message>`,
    );
    return id;
  }

  async iq(type, payload, { to, timeoutMs } = {}) {
    const id = randomUUID();
    const target = to === undefined ? "" : ` to='${escape(to)}'`;
    this.send(`<iq xmlns='jabber:client' type='${type}' id='${id}'${target}>${payload}</iq>`);
    return this.expect((frame) => frame.is("iq") && frame.attrs.id === id, `an answer to iq ${id}`, timeoutMs);
  }

  /** Everything sent before this has been processed when it answers. */
  async settle() {
    await this.iq("get", `<ping xmlns='${NS.ping}'/>`);
  }

  /** Asks for an ack and answers its `h`. Acks that were under way before are dropped. */
  async ask() {
    await this.settle();
    this.drop((frame) => frame.is("a", NS.sm));
    this.send(`<r xmlns='${NS.sm}'/>`);
    return Number((await this.expect((frame) => frame.is("a", NS.sm), "<a/>")).attrs.h);
  }

  ack(h = this.handled) {
    this.send(`<a xmlns='${NS.sm}' h='${h}'/>`);
  }

  /** Takes the first frame, waiting or to come, that `wanted` accepts. */
  async expect(wanted, what = "a frame", timeoutMs = TIMEOUT_MS) {
    const take = () => {
      const at = this.#queue.findIndex(wanted);
      return at < 0 ? undefined : this.#queue.splice(at, 1)[0];
    };
    const end = Date.now() + timeoutMs;
    for (;;) {
      const found = take();
      if (found !== undefined) return found;
      const left = end - Date.now();
      if (left <= 0 || this.isClosed) {
        const why = this.isClosed ? "the stream was closed before" : `${timeoutMs} ms passed without`;
        throw new Error(`${this.user ?? "client"}: ${why} ${what}\n${this.transcript()}`);
      }
      await this.#change(left);
    }
  }

  expectMessage(body, timeoutMs) {
    return this.expect((frame) => frame.is("message") && frame.body === body, `the message ${body}`, timeoutMs);
  }

  /** Frames nobody has taken. */
  get waiting() {
    return [...this.#queue];
  }

  drop(unwanted = () => true) {
    this.#queue = this.#queue.filter((frame) => !unwanted(frame));
  }

  /** Says goodbye: the session is over and cannot be resumed. */
  async close() {
    if (this.isClosed) return;
    this.send(`<close xmlns='${NS.framing}'/>`);
    await this.expect((frame) => frame.is("close", NS.framing), "<close/>");
    this.#socket.close();
    await this.closed;
  }

  /** Drops the TCP connection without a word. */
  async vanish() {
    this.#socket.terminate();
    await this.closed;
  }

  transcript() {
    return this.#transcript.join("\n");
  }

  #receive(data, isBinary) {
    const xml = isBinary ? `binary ${data.toString("hex")}` : data.toString();
    if (this.onText(xml)) return;
    this.#note("←", xml);
    const frame = Frame.parse(xml);
    if (frame.is("enabled", NS.sm)) {
      this.#countsIn = true;
      this.handled = 0;
    } else if (frame.is("resumed", NS.sm)) {
      this.#countsIn = true;
    } else if (frame.isStanza && this.#countsIn) {
      this.handled += 1;
    }
    if (frame.is("message") && frame.body !== undefined && frame.attrs.type !== "error") {
      this.bodies.push(frame.body);
      this.onBody(frame.body, frame);
    }
    if (!this.onFrame(frame)) {
      if (frame.is("r", NS.sm) && this.answers) this.ack();
      else this.#queue.push(frame);
    }
    for (const wake of [...this.#waiting]) wake();
  }

  #change(timeoutMs) {
    return new Promise((resolve) => {
      const wake = () => {
        clearTimeout(timer);
        this.#waiting.delete(wake);
        resolve();
      };
      const timer = setTimeout(wake, timeoutMs);
      this.#waiting.add(wake);
    });
  }

  #note(sign, xml) {
    this.#transcript.push(`${sign} ${xml.length > 2_000 ? `${xml.slice(0, 2_000)}… (${xml.length})` : xml}`);
    if (this.#transcript.length > TRANSCRIPT_MAX) this.#transcript.shift();
  }
}

export class SaslFailure extends Error {
  constructor(frame) {
    super(frame.xml);
    this.condition = frame.condition;
  }
}

export const bare = (user) => `${user}@${DOMAIN}`;
export const passwordOf = (user) => `pass word of ${user}`;
let people = 0;
/** A user name that no other test has. */
export const someone = (name) => `${name}-${(people += 1)}-${process.pid}`;

// A device whose store survives whatever happens to its connections: an outbox, a session, and
// what it has shown are kept; it reconnects, resumes, sends again what `h` does not cover, and
// binds anew when the session is gone.
//
// Everything a frame does, it does in the turn the frame comes in: what is counted is stored.
import { passwordOf, SaslFailure, Wire, bare } from "../harness/wire.mjs";
import { xmppUrl } from "../harness/relay.mjs";
import { sleep } from "../harness/wait.mjs";
import { NS, escape } from "../harness/xml.mjs";
import { Session } from "./session.mjs";
import { bodyOf, token, tokensIn } from "./text.mjs";

const TICK_MS = 400;
const SILENCE_MS = 2_500;
const UNANSWERED_MS = 6_000;
const ASK_EVERY_MAX = 5;
const GOODBYE_MS = 1_000;
/** Ends of a stream that faults explain. */
const FORGIVEN = ["conflict", "connection-timeout"];
const EXTRAS = `<request xmlns='${NS.receipts}'/><accept xmlns='${NS.accepted}'/>`;

export class Device {
  /** `hint`: it mostly goes straight to its mailbox; otherwise always through the lobby. */
  constructor({ user, number, proxy, books, trace, random, hint }) {
    Object.assign(this, { user, proxy, books, trace, random, hint });
    this.name = `${user}/${number}`;
    this.resource = `d${number}`;
    this.account = bare(user);
    this.jid = `${this.account}/${this.resource}`;
  }

  counts = { resumed: 0, begun: 0, refused: 0, breaks: 0, written: 0 };
  isAwake = true;
  isUp = false;
  /** Committed and on no session: new, or left over from one that is gone. */
  #waiting = [];
  #session;
  #sessions = 0;
  #former;
  #wire;
  #connections = 0;
  #places = 0;
  #heardAt = 0;
  #askedAt;
  #unasked = 0;

  /** How much the relay has not acked. */
  get owed() {
    return this.#waiting.length + (this.#session?.unacked.filter((entry) => entry.token).length ?? 0);
  }

  /** The id of its session, for somebody who would steal it. */
  get smId() {
    return this.#session?.smId;
  }

  /** Keeps the device connected while it is awake; ends when it is not and `isOver()`. */
  async live(isOver) {
    const ticks = setInterval(() => this.#tick(), TICK_MS);
    while (!isOver()) {
      if (this.isAwake) {
        try {
          await this.#connect();
          await this.#wire?.closed;
        } catch (error) {
          this.#failed(error);
        }
      }
      await sleep(this.random.between(20, 400));
    }
    clearInterval(ticks);
  }

  /** Commits a message to `to` (an account) and sends it when it can; `resource` addresses one device. */
  write(to, resource) {
    const name = token("m", this.name, (this.#places += 1));
    this.counts.written += 1;
    this.books.attempt(this.name, name, bare(to));
    const body = `<body>${escape(bodyOf(name))}</body>`;
    this.#commit(name, resource === undefined ? bare(to) : `${bare(to)}/${resource}`, body + EXTRAS);
    return name;
  }

  /** Drops its connection without a word and stays away. `forget`: the session does not survive. */
  async vanish({ forget = false } = {}) {
    this.isAwake = false;
    this.trace.event(forget ? "vanishes, forgetting its session" : "vanishes", this.name);
    const wire = this.#wire;
    this.#broke(wire);
    if (forget) this.#endSession();
    await wire?.vanish();
  }

  /** Says goodbye and stays away. If that was answered, it tries to resume all the same: in vain. */
  async leave() {
    this.isAwake = false;
    this.trace.event("says goodbye", this.name);
    const [wire, session] = [this.#wire, this.#session];
    if (this.isUp) wire.send(`<close xmlns='${NS.framing}'/>`);
    this.#broke(wire);
    this.#endSession();
    if (wire === undefined) return;
    await Promise.race([wire.closed, sleep(GOODBYE_MS)]);
    if (wire.isOver) this.#former = session;
    await wire.vanish();
  }

  #commit(name, to, payload) {
    const xml =
      `<message xmlns='jabber:client' to='${escape(to)}' type='chat' id='${name}'>${payload}` +
      `<origin-id xmlns='${NS.sid}' id='${name}'/></message>`;
    const entry = { token: name, xml };
    if (this.isUp) this.#transmit(entry);
    else this.#waiting.push(entry);
  }

  #transmit(entry) {
    this.#session.push(entry);
    this.#say(entry.xml);
    this.#unasked += 1;
    if (this.#unasked >= this.#askEvery) this.#ask();
  }

  get #askEvery() {
    return 1 + (this.#connections % ASK_EVERY_MAX);
  }

  #ask() {
    this.#unasked = 0;
    this.#askedAt ??= Date.now();
    this.#say(`<r xmlns='${NS.sm}'/>`);
  }

  #say(xml, wire = this.#wire) {
    this.trace.frame(wire.label, "→", xml, tokensIn(xml));
    wire.send(xml);
  }

  async #connect() {
    this.#connections += 1;
    // Now and then through the lobby.
    const hint = this.hint && this.#connections % 4 !== 0 ? this.account : undefined;
    const wire = await Wire.connect(xmppUrl(this.proxy.port, hint));
    Object.assign(wire, { label: `${this.name}#${this.#connections}`, user: this.user, answers: false });
    wire.onFrame = (frame) => this.#frame(wire, frame);
    wire.closed.then(() => this.#broke(wire));
    this.#wire = wire;
    try {
      await wire.open();
      await wire.authenticate(this.user, passwordOf(this.user));
      if (!this.isAwake || wire !== this.#wire) return void (await wire.vanish());
      const previous = this.#former ?? this.#session;
      if (previous !== undefined && (await this.#resume(wire, previous))) return;
      await wire.bind(this.resource);
      if (wire !== this.#wire) return;
      this.#say(`<enable xmlns='${NS.sm}' resume='true'/>`);
      await wire.expect((frame) => frame.is("enabled", NS.sm), "<enabled/>");
    } catch (error) {
      this.#broke(wire);
      await wire.vanish();
      throw error;
    }
  }

  async #resume(wire, { smId, handled }) {
    this.#say(`<resume xmlns='${NS.sm}' h='${handled}' previd='${escape(smId)}'/>`);
    const wanted = (frame) => frame.is("resumed", NS.sm) || frame.is("failed", NS.sm);
    return (await wire.expect(wanted, "an answer to <resume/>")).is("resumed");
  }

  /** Answers whether the frame needs nobody else. */
  #frame(wire, frame) {
    if (wire !== this.#wire) {
      wire.isOver ||= frame.is("close", NS.framing);
      return true;
    }
    this.#heardAt = Date.now();
    if (frame.ns !== NS.sasl) this.trace.frame(wire.label, "←", frame.xml, tokensIn(frame.xml));
    if (frame.ns === NS.sm) return this.#managed(frame);
    if (frame.is("error", NS.streams) && !FORGIVEN.includes(frame.condition)) {
      this.books.fault(`${this.name}: the relay ended the stream with ${frame.xml}`);
    }
    if (!frame.isStanza || !this.isUp) return false;
    this.#session.received();
    if (frame.is("message")) this.#message(frame);
    else if (frame.attrs.type === "error") this.books.fault(`${this.name}: unexpected ${frame.xml}`);
    return true;
  }

  #managed(frame) {
    if (frame.name === "a") this.#acked(this.#session, frame.attrs.h);
    else if (frame.name === "r") this.#answerSoon(this.#wire);
    else if (frame.name === "enabled") this.#enabled(frame);
    else if (frame.name === "resumed") this.#resumed(frame);
    else if (frame.name === "failed") this.#refused(frame);
    return frame.name === "a" || frame.name === "r";
  }

  #acked(session, h) {
    this.#askedAt = undefined;
    for (const { token: name } of session?.ack(h) ?? []) if (name) this.books.acknowledge(name);
  }

  // The later the answer, the more there is to repeat after a fault.
  #answerSoon(wire) {
    setTimeout(() => {
      if (wire !== this.#wire || !this.isUp) return;
      this.#say(`<a xmlns='${NS.sm}' h='${this.#session.handled}'/>`);
    }, this.random.between(0, 150));
  }

  #enabled(frame) {
    this.counts.begun += 1;
    this.#sessions += 1;
    this.#session = new Session(frame.attrs.id, { onLie: (words) => this.#lie(words) });
    this.isUp = true;
    // Carbons before presence: what is sent on presence is to hold those too.
    const carbons = `<iq xmlns='jabber:client' type='set' id='carbons'><enable xmlns='${NS.carbons}'/></iq>`;
    for (const xml of [carbons, "<presence xmlns='jabber:client'/>"]) this.#transmit({ xml });
    this.#sendWaiting();
  }

  #resumed(frame) {
    if (this.#former !== undefined) {
      this.#former = undefined;
      this.books.fault(`${this.name}: a session was resumed after its goodbye`);
      return this.#broke(this.#wire);
    }
    this.counts.resumed += 1;
    this.#acked(this.#session, frame.attrs.h);
    if (this.#session === undefined) return;
    this.isUp = true;
    for (const { xml } of this.#session.unacked) this.#say(xml);
    this.#sendWaiting();
    this.#ask();
  }

  #refused(frame) {
    this.counts.refused += 1;
    const former = this.#former;
    this.#former = undefined;
    if (former !== undefined) return;
    // XEP-0198 §5: what it had handled of the session that is gone.
    if (frame.attrs.h !== undefined) this.#acked(this.#session, frame.attrs.h);
    this.#endSession();
  }

  #sendWaiting() {
    for (const entry of this.#waiting.splice(0)) this.#transmit(entry);
  }

  #endSession() {
    const left = this.#session?.unacked.filter((entry) => entry.token) ?? [];
    this.#session = undefined;
    this.#waiting.unshift(...left);
  }

  #lie(words) {
    const [first] = this.#session.unacked.filter((entry) => entry.token);
    this.books.fault(`${this.name}: the relay claims ${words}`, first ? [first.token] : []);
    const wire = this.#wire;
    this.#broke(wire);
    this.#endSession();
    wire.vanish();
  }

  #message(frame) {
    const carbon = frame.get("sent", NS.carbons) ?? frame.get("received", NS.carbons);
    if (carbon !== undefined && frame.attrs.from !== this.account) {
      this.books.fault(`${this.name}: a carbon from ${frame.attrs.from}: ${frame.xml}`);
    }
    const message = carbon?.get("forwarded", NS.forward)?.get("message", NS.client) ?? frame;
    if (message.attrs.type === "error") {
      return this.books.fault(`${this.name}: unexpected ${frame.xml}`, [...tokensIn(frame.xml)]);
    }
    const accepted = message.get("accepted", NS.accepted);
    if (accepted !== undefined) {
      return this.books.accepted(this.name, accepted.attrs["origin-id"], Number(accepted.attrs["stanza-id"]));
    }
    const from = message.attrs.from.split("/")[0];
    const own = message.all("stanza-id", NS.sid).filter(({ attrs }) => attrs.by === this.account);
    const row = {
      token: message.get("origin-id", NS.sid)?.attrs.id ?? message.attrs.id,
      seq: own.length === 1 ? Number(own[0].attrs.id) : Number.NaN,
      from,
      body: message.body,
      of: message.get("received", NS.receipts)?.attrs.id,
      session: this.#sessions,
    };
    const isNew = this.books.row(this.name, row);
    if (isNew && carbon === undefined && message.get("request", NS.receipts)) this.#confirm(message.attrs);
  }

  // XEP-0184 §5: never for a carbon, never for a receipt.
  #confirm({ from, id }) {
    const name = token("r", this.name, (this.#places += 1));
    const account = from.split("/")[0];
    this.books.attempt(this.name, name, account, { of: id });
    const to = this.random.next() < 0.5 ? from : account;
    this.#commit(name, to, `<received xmlns='${NS.receipts}' id='${id}'/><accept xmlns='${NS.accepted}'/>`);
  }

  #broke(wire) {
    if (wire === undefined || wire !== this.#wire) return;
    this.#wire = undefined;
    this.#askedAt = undefined;
    if (!this.isUp) return;
    this.isUp = false;
    this.counts.breaks += 1;
    this.trace.event("its stream broke", this.name);
    for (const entry of this.#session.unacked) if (entry.token) this.books.interrupt(entry.token);
  }

  /** Notices a link that is dead without having said so. */
  #tick() {
    if (!this.isUp) return;
    const now = Date.now();
    if (this.#askedAt !== undefined && now - this.#askedAt > UNANSWERED_MS) {
      const wire = this.#wire;
      this.trace.event("gives its link up", this.name);
      this.#broke(wire);
      wire.vanish();
    } else if (this.#askedAt === undefined && (this.#session.unacked.length > 0 || now - this.#heardAt > SILENCE_MS)) {
      this.#ask();
    }
  }

  // What a fault can do to a connection that opens; anything else is a finding.
  #failed(error) {
    const isRefusal = error instanceof SaslFailure;
    const isOurs = [TypeError, ReferenceError, RangeError].some((kind) => error instanceof kind);
    if (isRefusal || isOurs || error.code === "ERR_ASSERTION") {
      this.books.fault(`${this.name}: ${error.stack}`);
    }
  }
}

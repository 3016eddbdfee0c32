// A scenario, its people, and their XML if it fails.
//
// Every scenario has accounts and connections of its own, so that those of a file may run at the
// same time. A failure shows what each connection said and heard.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Proxy } from "../harness/proxy.mjs";
import { sharedRelay, xmppUrl } from "../harness/relay.mjs";
import { within } from "../harness/wait.mjs";
import { Wire, bare, someone } from "../harness/wire.mjs";
import { NS } from "../harness/xml.mjs";

const TIMEOUT_MS = 60_000;
/** How many scenarios run at once where nothing kills the relay. */
export const WIDTH = 6;

export const numbered = (count, word = "message") => Array.from({ length: count }, (_, i) => `${word} ${i + 1}`);
export const sm = (name, attributes = "") => `<${name} xmlns='${NS.sm}'${attributes && ` ${attributes}`}/>`;
export const isSm = (name) => (frame) => frame.is(name, NS.sm);
export const isError = (frame) => frame.is("error", NS.streams);
export const AVAILABLE = "<presence xmlns='jabber:client'/>";

/** Declares scenarios: each gets a stage on the file's relay. */
export function scenarios(hooks, options) {
  const shared = sharedRelay(hooks, options);
  return (name, act, { timeout = TIMEOUT_MS } = {}) =>
    test(name, { timeout }, async () => {
      const stage = new Stage(shared.relay);
      try {
        await act(stage);
      } catch (error) {
        throw new Error(`${error.message}\n${stage.transcripts()}`, { cause: error });
      } finally {
        await stage.clear();
      }
    });
}

class Stage {
  #wires = [];
  #proxies = [];

  constructor(relay) {
    this.relay = relay;
  }

  /** A new account's name. */
  async account(name = "user") {
    const user = someone(name);
    await Wire.register(this.relay, user);
    return user;
  }

  /** An account that is signed in; the options are those of `Wire.login`. */
  async person(name, options) {
    return this.login(await this.account(name), options);
  }

  /** Alice and Bob, each with the options of that name. */
  async pair({ alice, bob } = {}) {
    return [await this.person("alice", alice), await this.person("bob", bob)];
  }

  async login(user, { via = this.relay, ...options } = {}) {
    return this.keep(await Wire.login(via, user, options));
  }

  /** A connection that shows in the report. */
  keep(wire) {
    this.#wires.push(wire);
    return wire;
  }

  /** Another connection of the same account, authenticated and not bound. */
  again(wire, options) {
    return this.login(wire.user, { ...options, resume: true });
  }

  /** The session goes on over another connection, `h` being what was had of it. */
  async resumed(wire, h) {
    const next = await this.again(wire);
    const answer = await next.resume(wire, h);
    assert.equal(answer.name, "resumed", answer.xml);
    next.resumedAt = Number(answer.attrs.h);
    return next;
  }

  /** Somebody whose link can be broken: `wire.proxy`. */
  async behindProxy(user, options) {
    const proxy = await Proxy.start(this.relay.port);
    this.#proxies.push(proxy);
    const via = { url: (account) => xmppUrl(proxy.port, account) };
    return Object.assign(await this.login(user, { ...options, via }), { proxy });
  }

  /** Kills the relay and starts it on its state, or on what `meanwhile` makes of that. */
  async crash(wires, meanwhile = () => {}) {
    await this.relay.kill();
    await within(10_000, "the sockets to close", Promise.all(wires.map((wire) => wire.closed)));
    meanwhile();
    await this.relay.restart();
  }

  transcripts() {
    const titled = (wire, i) => `--- connection ${i + 1}, ${wire.user ?? "nobody"}\n${wire.transcript()}`;
    return this.#wires.map(titled).join("\n");
  }

  async clear() {
    await Promise.all(this.#wires.map((wire) => wire.isClosed || wire.vanish()));
    await Promise.all(this.#proxies.map((proxy) => proxy.stop()));
  }
}

/** Nothing is outstanding any more, and nobody answers for this device from here on; what it has had. */
export async function caughtUp(wire) {
  await wire.settle();
  wire.answers = false;
  wire.ack();
  wire.send(sm("r"));
  await wire.expect(isSm("a"));
  wire.drop();
  return wire.handled;
}

/** The stream error with this condition, then the end of the socket. */
export async function endsWith(wire, condition, timeoutMs) {
  const error = await wire.expect(isError, `the stream error ${condition}`, timeoutMs);
  assert.equal(error.condition, condition, error.xml);
  assert.equal(error.children[0].ns, NS.streamErrors, error.xml);
  await within(15_000, "the socket to close", wire.closed);
  return error;
}

/** `<failed/>` with this condition (XEP-0198 §6: one of the stanza errors). */
export function assertFailed(answer, condition) {
  assert(answer.is("failed", NS.sm), answer.xml);
  assert.equal(answer.condition, condition, answer.xml);
  assert.equal(answer.children[0].ns, NS.stanzaErrors, answer.xml);
}

/** The session of `wire` is there: resumed with `h`, it gets what is written to it. */
export async function assertResumable(stage, wire, h) {
  const back = await stage.resumed(wire, h);
  const friend = await stage.person("friend");
  friend.message(bare(wire.user), "are you there?");
  await back.expectMessage("are you there?");
  return back;
}

// An account, the link that it has to itself, and the library that is at home there.
import assert from "node:assert/strict";
import { Proxy } from "./proxy.mjs";
import { xmppUrl } from "./relay.mjs";
import { sleep, until } from "./wait.mjs";
import { Wire, bare, passwordOf, someone } from "./wire.mjs";

const PACE_MS = 12;

/** What a person's proxy counts. */
export const ASKED = "<r xmlns";
export const KICKED = "<connection-timeout";
export const RESUMED = "<resumed";

/** How a link breaks without a word. */
export const CUTS = [
  ({ client }) => client.kill(),
  ({ proxy }) => proxy.cut({ rst: true }),
  ({ proxy }) => proxy.cut({ rst: false }),
];

export const numbers = (first, last) => Array.from({ length: last - first + 1 }, (_, i) => String(first + i));

export class Person {
  /** What was handed to its user, by every client it has had. */
  shown = [];

  /** Somebody at `relay`, until the end of the test `t`. */
  static async meet(t, relay, Library) {
    const user = someone("person");
    await Wire.register(relay, user);
    const proxy = await Proxy.start(relay.port, [ASKED, KICKED, RESUMED]);
    const person = Object.assign(new Person(), { Library, user, account: bare(user), proxy });
    t.after(async () => {
      await person.client?.stop();
      await proxy.stop();
    });
    await person.begin();
    return person;
  }

  /** Starts a client that knows of no other. */
  async begin() {
    const { Library, user, account, proxy } = this;
    this.cuts = 0;
    this.client = new Library({ user, password: passwordOf(user), url: xmppUrl(proxy.port, account) });
    this.client.onMessage = (body) => this.shown.push(body);
    await this.client.start();
  }

  /** Loses its link, and finds its stream again. */
  async suffers(cut) {
    cut(this);
    await this.resumes();
  }

  async resumes() {
    this.cuts += 1;
    await this.comesTo("resume its stream", ({ resumptions, isUp }) => resumptions >= this.cuts && isUp);
  }

  /** Hears and says nothing until its proxy heals; new links do not come about either. */
  vanish() {
    this.proxy.stall();
    this.proxy.cut();
  }

  async writes(account, texts) {
    for (const text of texts) {
      this.client.send(account, text);
      await sleep(PACE_MS);
    }
  }

  async isRidOf(count) {
    await this.comesTo(`have ${count} messages acknowledged`, ({ acknowledged }) => acknowledged.length >= count);
  }

  async has(count) {
    await this.comesTo(`have ${count} messages`, () => this.shown.length >= count);
  }

  async comesTo(what, probe) {
    await until(`${this.Library.label} to ${what}`, () => probe(this.client), {
      timeoutMs: 20_000,
      everyMs: 20,
      detail: () => `it was shown ${this.shown.join(" ")}\n${this.client.lastError ?? ""}`,
    });
  }

  /** Every break was followed by one resumption, and by nothing else. */
  assertKeptItsSession() {
    const { sessions, resumptions } = this.client;
    assert.deepEqual({ sessions, resumptions }, { sessions: 1, resumptions: this.cuts }, this.Library.label);
  }
}

// One soak: the people, their links, what befalls them, the healing, and the account of it all.
import assert from "node:assert/strict";
import { StropheJs, XmppJs } from "../harness/foreign.mjs";
import { COLUMNS } from "../harness/ledger.mjs";
import { Proxy, breakAtRandom } from "../harness/proxy.mjs";
import { Relay } from "../harness/relay.mjs";
import { sleep, until, within } from "../harness/wait.mjs";
import { Wire } from "../harness/wire.mjs";
import { Books } from "./books.mjs";
import { Device } from "./device.mjs";
import { awayForLong, hostility, killAgainAndAgain, restless, vanishAtRandom } from "./faults.mjs";
import { Guest } from "./guest.mjs";
import { Trace } from "./trace.mjs";

const DEVICES_OF = { ann: 3, ben: 2, cleo: 3, dan: 2, eve: 1, fay: 1 };
const GUESTS = { gil: XmppJs, hal: StropheJs };
const VILLAIN = "mallory";

const WRITE_MS = [300, 2_000];
const BURST = 15;
/** A device that cannot get rid of what it wrote writes no more. */
const OWED_MAX = 200;
const LINK_KINDS = ["cut", "cut", "down", "stall", "half-open"];
const LINK_FAULTS = { kinds: LINK_KINDS, everyMs: [4_000, 20_000], lengthMs: [50, 3_500], times: Infinity };
const VANISH = { everyMs: [1_000, 6_000], awayMs: [100, 8_000] };
/** A session waits ten minutes for its device: in a long soak, one is away for longer. */
const LONG_MINUTES = 15;
const EXPIRED_MS = 640_000;
const PROGRESS_MS = 30_000;
const AFTERMATH_MS = 3_000;
const STOP_MS_MAX = 40_000;
const STORIES_MAX = 5;
const VIOLATIONS_TOLD_MAX = 100;

export class Soak {
  books = new Books();
  #trace = new Trace();
  #devices = [];
  #guests = [];
  #proxies = [];
  #lives = [];
  #breaks = [];
  #isBusy = true;
  #isOver = false;
  #outcome = { kills: 0 };

  /** A relay, and everybody with their devices online on it. */
  static async prepare(random, minutes) {
    const soak = new Soak();
    const { books } = soak;
    Object.assign(soak, { random, minutes });
    books.onViolation = (violation) => soak.#violated(violation);
    books.onSettled = (token) => soak.#trace.settle(token);
    soak.relay = await Relay.start();
    const users = [...Object.keys(DEVICES_OF), ...Object.keys(GUESTS), VILLAIN];
    for (const user of users) await Wire.register(soak.relay, user);
    for (const [user, count] of Object.entries(DEVICES_OF)) {
      for (let number = 1; number <= count; number += 1) await soak.#enrol(user, number);
    }
    for (const [user, Library] of Object.entries(GUESTS)) await soak.#invite(user, Library);
    // What was confirmed before a device first came is not for it: all come before anything is said.
    await until("all devices to be up", () => soak.#devices.every(({ isUp }) => isUp), { timeoutMs: 30_000 });
    return soak;
  }

  async #enrol(user, number) {
    const proxy = await this.#proxy();
    const parts = { books: this.books, trace: this.#trace, random: this.random.fork() };
    const device = new Device({ user, number, proxy, hint: number < 3, ...parts });
    this.books.enrol(device.account, device.name);
    this.#devices.push(device);
    this.#lives.push(device.live(() => this.#isOver));
  }

  async #invite(user, Library) {
    const parts = { books: this.books, trace: this.#trace };
    const guest = new Guest({ Library, user, proxy: await this.#proxy(), hint: true, ...parts });
    this.books.enrol(guest.account, guest.name, { guest: true });
    this.#guests.push(guest);
    await guest.start();
  }

  async #proxy() {
    const proxy = await Proxy.start(this.relay.port);
    this.#proxies.push(proxy);
    return proxy;
  }

  /** Everybody writes while everything goes wrong. */
  async run() {
    try {
      await this.#runs();
    } catch (error) {
      console.log(`# the relay's last words:\n${this.relay.stderr.slice(-4_000)}`);
      throw error;
    }
  }

  async #runs() {
    const { books, relay, random } = this;
    const isBusy = () => this.#isBusy;
    const started = Date.now();
    const progress = setInterval(() => this.#progress(started), PROGRESS_MS);
    const everybody = [...this.#devices, ...this.#guests];
    const writers = everybody.map((device) => this.#writes(device, random.fork()));
    this.#breaks = this.#proxies.map((proxy) => breakAtRandom(proxy, random.fork(), { ...LINK_FAULTS, isBusy }));
    // One that is away for long is left alone by what makes others vanish.
    const [absent, ...present] = this.#devices.filter(({ user }) => DEVICES_OF[user] > 1).reverse();
    const length = this.minutes >= LONG_MINUTES ? EXPIRED_MS : this.minutes * 20_000;
    const kills = { isBusy, trace: this.#trace, onRestart: (count) => this.#restarted(count) };
    const [ways, attempts] = await Promise.all([
      vanishAtRandom(present, random.fork(), { ...VANISH, isBusy }),
      hostility(relay, random.fork(), { isBusy, devices: this.#devices, books, user: VILLAIN }),
      killAgainAndAgain(relay, random.fork(), kills),
      awayForLong(absent, { afterMs: this.minutes * 10_000, ms: length, isBusy }),
      sleep(this.minutes * 60_000).then(() => (this.#isBusy = false)),
      ...writers,
    ]).finally(() => clearInterval(progress));
    Object.assign(this.#outcome, { ways, attempts });
  }

  async #writes(device, random) {
    const others = [...this.#devices, ...this.#guests].filter(({ account }) => account !== device.account);
    while (this.#isBusy) {
      await restless(random.between(...WRITE_MS), () => this.#isBusy);
      const count = random.next() < 0.02 ? BURST : 1;
      for (let i = 0; i < count && this.#isBusy; i += 1) {
        const other = random.pick(others);
        const resource = random.next() < 0.25 ? other.resource : undefined;
        if (device.isAwake && device.owed < OWED_MAX) device.write(other.user, resource);
      }
    }
  }

  /** No more faults: everything must come to rest in bounded time. */
  async heal(quietMsMax) {
    for (const proxy of this.#proxies) proxy.heal();
    for (const device of this.#devices) device.isAwake = true;
    const started = Date.now();
    const isQuiet = () => this.books.open === 0 && this.#devices.every(({ isUp, owed }) => isUp && owed === 0);
    const quiet = until("quiet", isQuiet, { timeoutMs: quietMsMax, everyMs: 200 });
    await quiet.catch((error) => this.books.fault(error.message));
    this.#outcome.healMs = Date.now() - started;
    await sleep(AFTERMATH_MS); // time for a duplicate to show itself
    this.relay.assertAlive();
    this.relay.assertQuiet();
  }

  async stop() {
    this.#isBusy = false;
    this.#isOver = true;
    const devices = this.#devices.map((device) => device.vanish());
    const guests = this.#guests.map((guest) => guest.stop());
    const everything = Promise.all([...devices, ...guests, ...this.#lives, ...this.#breaks]);
    await within(STOP_MS_MAX, "everybody to leave", everything).finally(() => this.relay.stop());
    for (const proxy of this.#proxies) await proxy.stop();
  }

  /** The account of the run, in a few lines. */
  tell() {
    const { kills, ways, attempts, healMs } = this.#outcome;
    const { messages, receipts, repeats, violations } = this.books;
    const rate = (messages.attempted / (this.minutes * 60)).toFixed(1);
    console.log(messages.table({ by: (device) => device.split("/")[0] }).replace(/^/gm, "# "));
    for (const [name, ledger] of Object.entries({ messages, receipts })) console.log(`# ${name}: ${totals(ledger)}`);
    console.log(
      `# ${this.minutes} minutes, ${kills} kills, ${this.#hits("cut")} cuts, ${this.#hits("stall")} stalls, ` +
        `${this.#hits("half-open")} half-open; devices ${words(ways)}; hostile ${words(attempts)}`,
    );
    console.log(
      `# ${messages.attempted} messages (${rate}/s), ${receipts.attempted} receipts; ` +
        `sessions ${this.#sum("resumed")} resumed, ${this.#sum("begun")} new, ${this.#sum("refused")} refused; ` +
        `${repeats} repeats suppressed; quiet after ${healMs} ms`,
    );
    console.log(`# violations: ${violations.length}; SEED=${this.random.seed}`);
  }

  assertClean() {
    const { messages, receipts, violations } = this.books;
    assert.deepEqual(violations.slice(0, VIOLATIONS_TOLD_MAX).map(({ what }) => what), []);
    // The books tell what is wrong, the ledgers only that something is; neither relies on the other.
    assert(messages.isClean() && receipts.isClean(), "the ledgers do not balance");
  }

  /** A soak without disasters proves nothing. */
  assertDisturbed() {
    const { kills } = this.#outcome;
    assert(kills >= this.minutes * (this.minutes >= 10 ? 10 : 6), `only ${kills} kills`);
    assert(this.#sum("resumed") >= kills, "sessions were hardly resumed");
    assert(this.books.messages.report().some(({ recovered }) => recovered > 0), "nothing had to be recovered");
    if (this.minutes < 2) return; // too short to be sure of what is rare
    assert(this.#sum("begun") > this.#devices.length, "no session was begun anew");
    assert(this.books.repeats > 0, "no repeat had to be suppressed");
  }

  #restarted(kills) {
    this.#outcome.kills = kills;
    this.relay.assertQuiet();
  }

  #progress(started) {
    const seconds = Math.round((Date.now() - started) / 1_000);
    const { messages, open, violations } = this.books;
    console.log(
      `# ${seconds} s: ${messages.attempted} messages, ${open} under way, ${this.#outcome.kills} kills, ` +
        `${this.#sum("resumed")} resumed, ${violations.length} violations`,
    );
  }

  #violated({ what, tokens }) {
    if (this.books.violations.length > STORIES_MAX) return;
    console.log([`# VIOLATION ${what}`, ...tokens.map((token) => this.#trace.story(token))].join("\n"));
  }

  #sum(name) {
    return this.#devices.reduce((sum, { counts }) => sum + counts[name], 0);
  }

  #hits(kind) {
    const faults = this.#proxies.flatMap(({ faults }) => faults);
    return faults.filter((fault) => fault.kind.startsWith(kind) && fault.links > 0).length;
  }
}

const words = (counts) => Object.entries(counts).map(([name, count]) => `${count} ${name}`).join(", ");

function totals(ledger) {
  const rows = ledger.report();
  return COLUMNS.map((column) => `${column} ${rows.reduce((sum, row) => sum + row[column], 0)}`).join(", ");
}

// Bob's devices as RFC 6121 §8.5 tells them apart, and who of them is to be sent what.
//
// A device is `away` (registered, without a connection), `connected` (bound, without presence) or
// available with a priority. The one that a full address means is the phone.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { bare, someone } from "../harness/wire.mjs";
import { AVAILABLE } from "./stage.mjs";

export const available = (priority) =>
  `<presence xmlns='jabber:client'><priority>${priority}</priority></presence>`;

/** The situations of the table, each with its devices. */
export const SITUATIONS = {
  "no resource is available": { phone: "away", tablet: "away" },
  "there are only negative resources": { phone: -1, tablet: -5 },
  "there is one resource, and it is not negative": { phone: 0 },
  "there are several of equal priority": { phone: 5, tablet: 5, desk: 5 },
  "there are several of different priorities": { phone: 1, tablet: 10, desk: 0 },
  "there are negative ones and others": { phone: 1, tablet: 10, watch: -1 },
};

const isAvailable = (state) => typeof state === "number";
const isOpen = (state) => isAvailable(state) && state >= 0;

/** Alice, and Bob with these devices. */
export async function townOf(stage, states) {
  const alice = await stage.person("alice");
  const user = await stage.account("bob");
  const devices = new Map();
  for (const [name, state] of Object.entries(states)) devices.set(name, await Device.start(stage, user, name, state));
  return new Town(stage, alice, user, devices);
}

class Town {
  constructor(stage, alice, user, devices) {
    Object.assign(this, { stage, alice, user, devices });
  }

  /** What `bare`, `match`, `negative` and `nowhere` are called. */
  address(target) {
    const resource = { bare: "", match: "/phone", negative: "/watch", nowhere: "/nowhere" }[target];
    return `${bare(this.user)}${resource}`;
  }

  named(test) {
    return [...this.devices.values()].filter(({ state }) => test(state)).map(({ name }) => name);
  }

  get open() {
    return this.named(isOpen);
  }

  get availables() {
    return this.named(isAvailable);
  }

  get all() {
    return this.named(() => true);
  }

  /** All that Alice has sent so far to those who are there has arrived. */
  async arrived() {
    for (const name of this.availables) {
      const marker = randomUUID();
      this.alice.message(`${bare(this.user)}/${name}`, marker, { type: "headline" });
      await this.devices.get(name).wire.expectMessage(marker);
    }
    await this.alice.settle();
  }

  /** Everybody is there, and has all that waited for it. */
  async everybodyComes() {
    const last = randomUUID();
    this.alice.message(bare(this.user), last);
    await this.alice.settle();
    for (const device of this.devices.values()) {
      await device.come(this.stage);
      await device.wire.expectMessage(last);
    }
  }

  /** The devices that have been sent a stanza of Alice's for which the test holds. */
  have(test) {
    const isAlices = (frame) => frame.attrs.from?.startsWith(`${bare(this.alice.user)}`) && test(frame);
    return this.all.filter((name) => this.devices.get(name).seen.some(isAlices));
  }

  /** How often it came to one device at most. */
  mostOften(test) {
    return Math.max(0, ...this.all.map((name) => this.devices.get(name).seen.filter(test).length));
  }
}

class Device {
  seen = [];

  static async start(stage, user, name, state) {
    const device = Object.assign(new Device(), { user, name, state });
    await device.#login(stage);
    if (state === "away") {
      device.wire.send(AVAILABLE);
      await device.wire.settle();
      await device.wire.close();
    } else if (state !== "connected") {
      device.wire.send(available(state));
      await device.wire.settle();
    }
    return device;
  }

  async #login(stage) {
    this.wire = await stage.login(this.user, { resource: this.name, presence: false });
    this.wire.onFrame = (frame) => {
      if (frame.isStanza) this.seen.push(frame);
      return false;
    };
  }

  async come(stage) {
    if (isOpen(this.state)) return;
    if (this.state === "away") await this.#login(stage);
    this.wire.send(AVAILABLE);
  }
}

/** The errors that Alice was told under this id. */
export const errorsOf = (wire, id) => wire.waiting.filter(({ attrs }) => attrs.type === "error" && attrs.id === id);

/** One error, of this condition, from the address that was written to. */
export function assertRefused(errors, address, condition = "service-unavailable") {
  assert.equal(errors.length, 1, `${errors.length} errors`);
  const [error] = errors;
  assert.equal(error.get("error").condition, condition, error.xml);
  assert.equal(error.attrs.from, address, error.xml);
}

/** Somebody who was never here. */
export const stranger = () => someone("stranger");

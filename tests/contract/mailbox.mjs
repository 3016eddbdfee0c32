// A mailbox's store in workerd, past the engine: the relay built with the feature `contract`.
import { join } from "node:path";
import { DOMAIN } from "../harness/env.mjs";
import { Relay } from "../harness/relay.mjs";
import { CONTRACT_DIR, parsed, written } from "./play.mjs";

/** The relay that offers its store. */
export const startRelay = () => Relay.start({ build: join(CONTRACT_DIR, "relay") });

/** Status of a batch that the store does not take. */
const REFUSED = 409;

export class MailboxStore {
  #relay;
  #account;
  #isOpen = false;

  constructor(relay, name, reopen) {
    this.#relay = relay;
    this.#account = `${name}@${DOMAIN}`;
    this.reopen = async () => {
      await reopen();
      this.#isOpen = false;
    };
  }

  async commit(ops) {
    await this.#opened();
    return (await this.#call("commit", ops)) !== undefined;
  }

  async rows() {
    await this.#opened();
    return (await this.#call("rows")).rows;
  }

  async ask({ ask, with: question }) {
    await this.#opened();
    return (await this.#call(ask, question)).answer;
  }

  /** What the object's first event loads; `empty` if nothing was ever written. */
  async open() {
    this.#isOpen = true;
    return this.#call("open");
  }

  async #opened() {
    if (!this.#isOpen) await this.open();
  }

  /** The answer, or undefined if the store refused. */
  async #call(verb, body = null) {
    const url = `${this.#relay.origin}/contract/${verb}?account=${encodeURIComponent(this.#account)}`;
    const response = await fetch(url, { method: "POST", body: written(body) });
    const text = await response.text();
    if (response.ok) return parsed(text);
    if (response.status === REFUSED && verb === "commit") return undefined;
    throw new Error(`${verb}: ${response.status} ${text}`);
  }
}

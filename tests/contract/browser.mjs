// A browser's store in Chromium, past the app: the module built with the feature `contract`, in a
// page of its own on a profile that outlives the browser.
//
// The page watches every transaction, and can make the n-th write of the next one fail.
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { FLAGS, killBrowser } from "../harness/browser.mjs";
import { CHROMIUM, DOMAIN } from "../harness/env.mjs";
import { CONTRACT_DIR, parsed, written } from "./play.mjs";

const HTML = `<!DOCTYPE html><meta charset="utf-8"><title>contract</title>
<script type="module">import init from "/web-client.js"; await init(); window.isReady = true;</script>`;
const TYPES = { js: "text/javascript", wasm: "application/wasm" };

/** Runs in the page, before the module. */
function watch() {
  const { transaction } = IDBDatabase.prototype;
  window.writes = [];
  window.fault = undefined;
  IDBDatabase.prototype.transaction = function (stores, mode, options) {
    const begun = transaction.call(this, stores, mode, options);
    if (mode === "readwrite") window.writes.push({ asked: options?.durability, got: begun.durability });
    return begun;
  };
  const hindered = (method) => {
    const original = IDBObjectStore.prototype[method];
    IDBObjectStore.prototype[method] = function (...words) {
      const fault = window.fault;
      if (!fault || fault.after-- > 0) return original.apply(this, words);
      window.fault = undefined;
      if (fault.how === "throw") throw new DOMException("injected", fault.name);
      const request = original.apply(this, words);
      if (fault.how === "abort") request.addEventListener("success", () => this.transaction.abort());
      // A key that is taken fails its request, and that its transaction.
      if (fault.how === "fail") this.transaction.objectStore("meta").add(0, "epoch");
      return request;
    };
  };
  for (const method of ["put", "delete", "clear"]) hindered(method);
}

export class Page {
  #context;
  #server;
  // An overridden quota ends with the session that has set it.
  #session;
  /** Counts launches: what a page held is gone with it. */
  launches = 0;
  writes = [];
  /** What nobody in the page caught. */
  uncaught = [];

  static async start() {
    const page = new Page();
    page.dir = await mkdtemp(join(tmpdir(), "counterfoil-browser-"));
    page.#server = createServer((request, response) => page.#serve(request.url, response));
    await new Promise((resolve) => page.#server.listen(0, "127.0.0.1", resolve));
    page.origin = `http://127.0.0.1:${page.#server.address().port}`;
    await page.launch();
    return page;
  }

  async launch() {
    this.#context = await chromium.launchPersistentContext(this.dir, {
      executablePath: CHROMIUM,
      headless: true,
      args: FLAGS,
      chromiumSandbox: false,
    });
    this.launches += 1;
    this.#session = undefined;
    await this.#context.addInitScript(watch);
    this.page = this.#context.pages()[0] ?? (await this.#context.newPage());
    this.page.on("pageerror", (error) => this.uncaught.push(error.message));
    await this.page.goto(this.origin);
    await this.page.waitForFunction(() => window.isReady);
  }

  /** SIGKILL to the browser. */
  async kill() {
    await this.collect();
    await this.killNow();
  }

  async killNow() {
    await killBrowser(this.dir);
    await this.#context.close().catch(() => {});
  }

  /** Calls the driver. Answers { answer } or { fault }. */
  async call(verb, tab = 0, words = null) {
    const { answer, fault } = await this.page.evaluate(
      ([verb, tab, json]) =>
        contract(verb, tab, json).then((answer) => ({ answer }), (fault) => ({ fault: String(fault) })),
      [verb, tab, written(words)],
    );
    return fault === undefined ? { answer: parsed(answer) } : { fault };
  }

  /** The next write that comes after `after` others fails: `how` is throw (with `name`), fail or abort. */
  async hinder(fault) {
    await this.page.evaluate((fault) => (window.fault = fault), fault);
  }

  /** Whether the injected fault has not happened. */
  isHindered() {
    return this.page.evaluate(() => window.fault !== undefined);
  }

  /** How every writing transaction so far was begun. */
  async collect() {
    this.writes.push(...(await this.page.evaluate(() => window.writes.splice(0))));
    return this.writes;
  }

  /** Bytes that the origin may store; as many as the disk has if none are given. */
  async quota(quotaSize) {
    this.#session ??= await this.#context.newCDPSession(this.page);
    await this.#session.send("Storage.overrideQuotaForOrigin", { origin: this.origin, quotaSize });
  }

  /** Deletes the origin's databases under the page, as a person or a browser short of room does. */
  async wipe() {
    const session = await this.#context.newCDPSession(this.page);
    await session.send("Storage.clearDataForOrigin", { origin: this.origin, storageTypes: "indexeddb" });
    await session.detach();
  }

  async stop() {
    await this.#context?.close().catch(() => {});
    await new Promise((resolve) => this.#server.close(resolve));
    await rm(this.dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  }

  async #serve(url, response) {
    const name = url.slice(1);
    if (name === "") return response.setHeader("content-type", "text/html").end(HTML);
    const type = TYPES[name.split(".").at(-1)];
    if (type === undefined || name.includes("/")) return response.writeHead(404).end();
    response.setHeader("content-type", type).end(await readFile(join(CONTRACT_DIR, "client", name)));
  }
}

/** One account's stores, in a tab that leads once it writes. */
export class BrowserStore {
  #page;
  #account;
  #launch = 0;
  #tab;
  #leads = false;
  /** Why the last batch was not taken. */
  fault;

  constructor(page, name, reopen = () => this.openAnew()) {
    this.#page = page;
    this.#account = `${name}@${DOMAIN}`;
    this.reopen = reopen;
  }

  /** Gives the handles up, and opens others. */
  async openAnew() {
    await this.#call("close");
    this.#tab = undefined;
  }

  /** Takes the lead, as the first batch does. */
  async lead() {
    await this.#call("lead");
    this.#leads = true;
  }

  async commit(ops) {
    const tab = await this.#open();
    const leads = this.#leads ? {} : await this.#page.call("lead", tab);
    this.#leads = leads.fault === undefined;
    const { fault } = this.#leads ? await this.#page.call("commit", tab, ops) : leads;
    this.fault = fault;
    if (fault !== undefined && !["Broken", "Full", "Fenced"].includes(fault)) throw new Error(`commit: ${fault}`);
    return fault === undefined;
  }

  rows() {
    return this.#call("rows");
  }

  ask({ ask, with: question }) {
    return this.#call(ask, question);
  }

  async #call(verb, words) {
    const { answer, fault } = await this.#page.call(verb, await this.#open(), words);
    if (fault !== undefined) throw new Error(`${verb}: ${fault}`);
    return answer;
  }

  async #open() {
    if (this.#launch !== this.#page.launches || this.#tab === undefined) {
      this.#launch = this.#page.launches;
      this.#tab = (await this.#page.call("open", 0, this.#account)).answer;
      this.#leads = false;
    }
    return this.#tab;
  }
}

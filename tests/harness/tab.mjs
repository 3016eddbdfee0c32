// One tab of the app: acts through what a person can see, reads what a person can see and, for
// whole histories, the rows behind it.
import assert from "node:assert/strict";
import { until } from "./wait.mjs";

const LOG_LINES_MAX = 300;
const byId = (id) => `[data-testid="${id}"]`;

export class Tab {
  log = [];
  isGone = false;

  constructor(person, page) {
    this.person = person;
    this.page = page;
    const note = (line) => {
      this.log.push(line);
      if (this.log.length > LOG_LINES_MAX) this.log.shift();
    };
    page.on("console", (message) => note(`${message.type()}: ${message.text()}`));
    page.on("pageerror", (error) => note(`uncaught: ${error.message}`));
    page.on("crash", () => (this.isGone = true));
    page.on("close", () => (this.isGone = true));
  }

  get(id) {
    return this.page.locator(byId(id));
  }

  /** Opens or reloads the app. */
  async visit() {
    await this.page.goto(`${this.person.origin}/`, { waitUntil: "load" });
  }

  /** data-state, data-resumed, data-outbox, data-owed of the connection indicator. */
  async link() {
    const { dataset } = await this.get("connection-state").first().evaluate((node) => ({ dataset: { ...node.dataset } }));
    return {
      state: dataset.state,
      resumed: dataset.resumed === "true",
      outbox: Number(dataset.outbox),
      owed: Number(dataset.owed),
    };
  }

  async waitFor(what, wanted, timeoutMs = 30_000) {
    let last;
    const probe = async () => wanted((last = await this.link()));
    await until(`${this.person.user}: ${what}`, probe, {
      timeoutMs,
      everyMs: 100,
      detail: async () => `the connection is ${JSON.stringify(last)}\n${this.words()}`,
    });
  }

  online(timeoutMs) {
    return this.waitFor("online", ({ state }) => state === "online", timeoutMs);
  }

  notOnline(timeoutMs) {
    return this.waitFor("not online", ({ state }) => state !== "online", timeoutMs);
  }

  /** Online, with nothing left to hand over. */
  idle(timeoutMs) {
    const isIdle = ({ state, outbox, owed }) => state === "online" && outbox === 0 && owed === 0;
    return this.waitFor("online with empty queues", isIdle, timeoutMs);
  }

  async enter(button, password = this.person.password) {
    await this.get("jid-input").fill(this.person.jid);
    await this.get("password-input").fill(password);
    await this.get(button).click();
  }

  async register() {
    await this.enter("register-button");
    await this.online();
  }

  async signIn() {
    await this.enter("sign-in-button");
    await this.online();
  }

  listed(jid) {
    return this.page.locator(`${byId("conversation")}[data-jid="${jid}"]`).first();
  }

  async openChat(jid) {
    if (await this.listed(jid).isVisible()) return this.openListed(jid);
    await this.get("new-chat-input").fill(jid);
    await this.get("new-chat-button").click();
    await this.#opened(jid);
  }

  /** Opens a conversation that is in the list, or comes into it. */
  async openListed(jid) {
    await this.listed(jid).click();
    await this.#opened(jid);
  }

  async #opened(jid) {
    await this.get("composer-input").waitFor();
    this.peer = jid;
  }

  async unread(jid) {
    return Number(await this.listed(jid).getAttribute("data-unread"));
  }

  bubble(text) {
    const body = this.page.locator(byId("message-body")).getByText(text, { exact: true });
    return this.get("message").filter({ has: body });
  }

  /** Writes and sends; answers when the bubble is there, which is when its row is on disk. */
  async send(text) {
    await this.get("composer-input").fill(text);
    await this.get("send-button").click();
    await this.bubble(text).first().waitFor({ timeout: 10_000 });
  }

  /** The status of the one bubble with that text. */
  async status(text) {
    const bubbles = this.bubble(text);
    assert.equal(await bubbles.count(), 1, `${await bubbles.count()} bubbles say ${text}`);
    return bubbles.getAttribute("data-status");
  }

  async waitStatus(text, ...wanted) {
    let last;
    await until(`${this.person.user}: "${text}" to be ${wanted.join(" or ")}`, async () => {
      last = await this.status(text);
      return wanted.includes(last);
    }, { timeoutMs: 20_000, everyMs: 30, detail: async () => `it is ${last}\n${this.words()}` });
  }

  /** Turns the wheel over the timeline; up is negative. */
  async scroll(px) {
    await this.get("timeline").hover();
    await this.page.mouse.wheel(0, px);
  }

  /** The bubbles in the page, from top to bottom. */
  timeline() {
    return this.page.evaluate(([message, body]) =>
      [...document.querySelectorAll(message)].map((node) => ({
        key: node.dataset.key,
        direction: node.dataset.direction,
        status: node.dataset.status,
        order: Number(node.dataset.order),
        body: node.querySelector(body)?.textContent ?? "",
      })), [byId("message"), byId("message-body")]);
  }

  /** Every row of the conversation with `peer`, in timeline order. */
  async rows(peer = this.peer) {
    const rows = await this.#read("messages", peer);
    return rows.map((row) => ({ ...row, order: Number(row.order) }));
  }

  /** Every row of a small store. */
  store(name) {
    return this.#read(name);
  }

  async has(text, peer = this.peer) {
    return (await this.rows(peer)).some((row) => row.body === text);
  }

  /** The names of the app's databases. */
  databases() {
    return this.page.evaluate(async () =>
      (await indexedDB.databases()).map(({ name }) => name).filter((name) => name.startsWith("counterfoil:")));
  }

  // Opening a database that is not there would create it, without the app's stores.
  #read(store, peer) {
    return this.page.evaluate(async ([name, store, peer]) => {
      const settled = (request) => new Promise((resolve, reject) => {
        request.onsuccess = () => resolve(request.result);
        request.onerror = () => reject(request.error);
        request.onblocked = () => reject(new Error("blocked"));
      });
      const all = await indexedDB.databases();
      if (!all.some((database) => database.name === name)) return [];
      const database = await settled(indexedDB.open(name));
      try {
        const objects = database.transaction(store).objectStore(store);
        if (peer === undefined) return await settled(objects.getAll());
        const range = IDBKeyRange.bound([peer], [peer, []]);
        return await settled(objects.index("timeline").getAll(range));
      } finally {
        database.close();
      }
    }, [`counterfoil:${this.person.jid}`, store, peer]);
  }

  /** The newest bubbles are the newest rows: same texts, same order, same statuses. */
  async assertShowsNewest(peer = this.peer) {
    await until(`${this.person.user}'s page to agree with the rows`, async () => {
      const shown = (await this.timeline()).map(({ key, body, status }) => `${key} ${body} ${status}`);
      const rows = (await this.rows(peer)).slice(-Math.max(1, shown.length));
      const kept = rows.map(({ key, body, status }) => `${key} ${body} ${status.toLowerCase()}`);
      assert(shown.length >= Math.min(kept.length, 20), `only ${shown.length} bubbles are shown`);
      assert.deepEqual(shown, kept);
      return true;
    }, { timeoutMs: 10_000, everyMs: 250 });
  }

  /** Waits until the service worker can start the app without a network. */
  async installed() {
    await until("the service worker to be in charge", () =>
      this.page.evaluate(async () => {
        const registration = await navigator.serviceWorker.getRegistration();
        return registration?.active?.state === "activated" && (await caches.keys()).length > 0;
      }), { timeoutMs: 30_000 });
  }

  words() {
    return this.log.slice(-40).join("\n");
  }
}

const RANK = { queued: 0, failed: 0.5, sent: 1, delivered: 2, read: 3 };

/** Remembers how far each outgoing message has come, and objects when one goes back. */
export class StatusWatch {
  #highest = new Map();
  regressions = [];

  look(rows) {
    for (const { key, direction, status, body } of rows) {
      if (direction !== "Outgoing") continue;
      const rank = RANK[status.toLowerCase()];
      const before = this.#highest.get(key);
      if (before !== undefined && rank < before.rank) this.regressions.push(`${body}: ${before.status} → ${status}`);
      else this.#highest.set(key, { rank, status });
    }
  }

  assertMonotone() {
    assert.deepEqual(this.regressions, []);
  }
}

// People at browsers: one Chromium and one profile each, behind a proxy of their own.
//
// The profile outlives the browser, so closing, killing and opening again keep what was stored.
// The page comes through the proxy too: when it is down, the person is offline altogether.
import { mkdtemp, readFile, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { CHROMIUM } from "./env.mjs";
import { Proxy } from "./proxy.mjs";
import { Tab } from "./tab.mjs";
import { until } from "./wait.mjs";
import { bare, passwordOf, someone } from "./wire.mjs";

export const FLAGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--lang=en",
  // Nobody looks at these windows; they must run as if somebody did.
  "--disable-background-timer-throttling", "--disable-backgrounding-occluded-windows",
  "--disable-renderer-backgrounding",
];

export class Person {
  #context;
  tabs = [];

  static async at(relay, name) {
    const person = new Person();
    person.user = someone(name);
    person.jid = bare(person.user);
    person.password = passwordOf(person.user);
    person.dir = await mkdtemp(join(tmpdir(), "counterfoil-browser-"));
    person.proxy = await Proxy.start(relay.port);
    await person.launch();
    return person;
  }

  /** A person with an account, signed in and online. */
  static async registered(relay, name) {
    const person = await Person.at(relay, name);
    await person.tab.visit();
    await person.tab.register();
    return person;
  }

  get origin() {
    return this.proxy.origin;
  }

  /** The tab that is used when no other is named. */
  get tab() {
    return this.tabs.at(-1);
  }

  /** Starts the browser, with one empty tab. */
  async launch() {
    this.#context = await chromium.launchPersistentContext(this.dir, {
      executablePath: CHROMIUM,
      headless: true,
      args: FLAGS,
      chromiumSandbox: false,
      locale: "en-US",
      viewport: { width: 1280, height: 800 },
    });
    this.#context.setDefaultTimeout(15_000);
    this.tabs = [new Tab(this, this.#context.pages()[0] ?? (await this.#context.newPage()))];
  }

  async newTab() {
    this.tabs.push(new Tab(this, await this.#context.newPage()));
    await this.tab.visit();
    return this.tab;
  }

  async closeTab(tab) {
    this.tabs = this.tabs.filter((other) => other !== tab);
    await tab.page.close();
  }

  /** Ends the tab's process, as the system does when memory is short. */
  async crashTab(tab = this.tab) {
    const session = await this.#context.newCDPSession(tab.page);
    session.send("Page.crash").catch(() => {});
    await until("the tab to crash", () => tab.isGone, { timeoutMs: 5_000, everyMs: 10 });
    await this.closeTab(tab);
  }

  /** Ends the tab by `end` and opens the app in another. */
  async replaceTab(end) {
    const { tab } = this;
    // A browser without any tab would end.
    const next = new Tab(this, await this.#context.newPage());
    await end(tab);
    this.tabs.push(next);
    await next.visit();
  }

  async close() {
    await this.#context.close();
    this.tabs = [];
  }

  /** SIGKILL to exactly this person's browser process. */
  async kill() {
    await killBrowser(this.dir);
    for (const tab of this.tabs) tab.isGone = true;
    this.tabs = [];
    await this.#context.close().catch(() => {});
  }

  async stop() {
    await this.#context.close().catch(() => {});
    await this.proxy.stop();
    await rm(this.dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  }
}

/** SIGKILL to exactly the browser process of this profile; answers when it is gone. */
export async function killBrowser(dir) {
  const pid = await browserPid(dir);
  if (pid === undefined) throw new Error("the browser to kill is not running");
  process.kill(pid, "SIGKILL");
  await until("the browser to be gone", async () => (await browserPid(dir)) === undefined, { timeoutMs: 10_000 });
}

async function browserPid(dir) {
  for (const entry of await readdir("/proc")) {
    if (!/^\d+$/.test(entry)) continue;
    const command = await readFile(`/proc/${entry}/cmdline`, "utf8").catch(() => "");
    const words = command.split("\0");
    const isOurs = words.includes(`--user-data-dir=${dir}`);
    if (isOurs && !words.some((word) => word.startsWith("--type="))) return Number(entry);
  }
  return undefined;
}

/** Prints what the tabs have said, when a test has failed; to be called in `afterEach`. */
export function tellOnFailure(t, people) {
  if (t.passed !== false) return;
  for (const person of people) {
    for (const tab of person?.tabs ?? []) console.error(`--- ${person.user}\n${tab.words()}\n---`);
  }
}

// The relay as it is built, under plain workerd, as a process that can be killed.
//
// State, port and configuration outlive the process: `kill` then `restart` is a crash and a
// recovery, and nothing else.
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { copyFile, mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { WebSocket } from "ws";
import { APP_DIR, ASSET_WORKER, DOMAIN, RELAY_DIR, ROOT, WRANGLER, workerdPath } from "./env.mjs";
import { freePort, sleep, until } from "./wait.mjs";

const COMPATIBILITY_DATE = "2026-11-01";
const UNIQUE_KEY = "counterfoil-test";
const STDERR_CHARS_MAX = 200_000;

export class Relay {
  #child;
  #expected = true;
  #exits = [];
  #wrangler = false;
  #stderr = "";
  kills = 0;

  /**
   * Options: `registration` (open, closed), `vars` (more text bindings), `build` (another relay), `wrangler` (as
   * it is deployed, with its bucket).
   */
  static async start(options = {}) {
    const relay = new Relay();
    relay.dir = await mkdtemp(join(tmpdir(), "counterfoil-relay-"));
    relay.port = await freePort();
    relay.#wrangler = options.wrangler === true;
    if (!relay.#wrangler) await relay.#configure(options);
    await relay.restart();
    return relay;
  }

  get pid() {
    return this.#child?.pid;
  }

  get isUp() {
    return this.#child !== undefined && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** The app's address. */
  get origin() {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Where workerd files the objects: one `.sqlite` per mailbox. */
  get objects() {
    return join(this.dir, this.#wrangler ? "v3/do" : "objects");
  }

  get stderr() {
    return this.#stderr;
  }

  /** The stream's address; with the hint if `account` (a bare JID) is given. */
  url(account) {
    return xmppUrl(this.port, account);
  }

  /** Starts the process on the state that is there, and waits until it answers. */
  async restart() {
    if (this.isUp) throw new Error("the relay is already running");
    const child = this.#wrangler
      ? await this.#spawnWrangler()
      : spawn(workerdPath(), ["serve", "--experimental", join(this.dir, "config.capnp")], {
          stdio: ["ignore", "pipe", "pipe"],
        });
    this.#child = child;
    this.#expected = false;
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8");
      stream.on("data", (text) => (this.#stderr = (this.#stderr + text).slice(-STDERR_CHARS_MAX)));
    }
    child.once("error", (error) => (this.#stderr += `\n${error}\n`));
    child.once("exit", (code, signal) => {
      if (!this.#expected) this.#exits.push(`workerd ${child.pid} ended by itself: ${signal ?? code}`);
    });
    await until("the relay to answer", () => this.#answers(), {
      timeoutMs: this.#wrangler ? 60_000 : 20_000,
      everyMs: 20,
      detail: () => this.stderr,
    });
  }

  /** SIGKILL to exactly that process: no last words, no last writes. */
  async kill() {
    this.kills += 1;
    await this.#end("SIGKILL");
  }

  /** Ends the process and removes its state. */
  async stop() {
    await this.#end("SIGKILL");
    await rm(this.dir, { recursive: true, force: true });
  }

  /** Throws if the process ended without having been told to. */
  assertAlive() {
    if (this.#exits.length > 0 || !this.isUp) {
      throw new Error(`the relay is gone: ${this.#exits.join("; ")}\n${this.stderr}`);
    }
  }

  /** Throws if a handler failed: `Err` from a Durable Object is seen nowhere else. */
  assertQuiet() {
    const loud = this.stderr.split("\n").filter((line) => /panicked|uncaught exception|RuntimeError/i.test(line));
    if (loud.length > 0) throw new Error(`the relay complained:\n${loud.slice(0, 20).join("\n")}`);
  }

  async #end(signal) {
    this.#expected = true;
    const child = this.#child;
    if (child === undefined || !this.isUp) return;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    // Wrangler has children: the group is ours.
    if (this.#wrangler) process.kill(-child.pid, signal);
    else child.kill(signal);
    await ended;
  }

  async #spawnWrangler() {
    const words = ["dev", "--local", "--ip", "127.0.0.1", "--port", `${this.port}`, "--inspector-port", `${await freePort()}`];
    const state = ["--persist-to", this.dir, "--show-interactive-dev-session=false", "--var", "REGISTRATION:open"];
    return spawn(process.execPath, [WRANGLER, ...words, ...state], {
      cwd: join(ROOT, "edge-relay"),
      detached: true,
      env: { ...process.env, COUNTERFOIL_BUILT: "1", WRANGLER_SEND_METRICS: "false", CLOUDFLARE_CF_FETCH_ENABLED: "false" },
      stdio: ["ignore", "pipe", "pipe"],
    });
  }

  /** Ready means: a stream can be opened, not merely that a port is bound. */
  async #answers() {
    if (!this.isUp) throw new Error("workerd ended");
    const socket = new WebSocket(this.url(), "xmpp");
    try {
      return await new Promise((resolve) => {
        const late = setTimeout(() => resolve(false), 5_000);
        socket.once("error", () => (clearTimeout(late), resolve(false)));
        socket.once("open", () =>
          socket.send(`<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='${DOMAIN}' version='1.0'/>`),
        );
        socket.once("message", (data) => (clearTimeout(late), resolve(data.toString().startsWith("<open"))));
      });
    } finally {
      socket.terminate();
    }
  }

  async #configure({ registration = "open", vars = {}, build = RELAY_DIR }) {
    if (!existsSync(join(build, "index.js"))) throw new Error(`no relay is built in ${build}`);
    await mkdir(this.objects, { recursive: true });
    const modules = [];
    for (const file of (await readdir(build)).sort((a, b) => rank(a) - rank(b))) {
      const kind = file.endsWith(".wasm") ? "wasm" : /\.m?js$/.test(file) ? "esModule" : undefined;
      if (kind === undefined) continue;
      await copyFile(join(build, file), join(this.dir, file));
      modules.push(`(name = ${quote(file)}, ${kind} = embed ${quote(file)})`);
    }
    if (existsSync(ASSET_WORKER)) await copyFile(ASSET_WORKER, join(this.dir, "assets-worker.mjs"));
    await mkdir(join(this.dir, "no-app"), { recursive: true });
    const app = existsSync(APP_DIR) ? APP_DIR : join(this.dir, "no-app");
    const texts = { DOMAIN, REGISTRATION: registration, ...vars };
    await writeFile(join(this.dir, "config.capnp"), this.#capnp(modules, app, texts));
  }

  #capnp(modules, app, texts) {
    const bindings = Object.entries(texts).map(([name, text]) => `(name = ${quote(name)}, text = ${quote(text)})`);
    const hasAssets = existsSync(ASSET_WORKER);
    return `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "relay", worker = .relay),
    (name = "files", disk = (path = ${quote(app)}, writable = false)),
    (name = "objects", disk = (path = ${quote(this.objects)}, writable = true)),
    ${hasAssets ? '(name = "assets", worker = .assets),' : ""}
  ],
  sockets = [ (name = "http", address = "127.0.0.1:${this.port}", http = (), service = "relay") ],
);
const relay :Workerd.Worker = (
  modules = [ ${modules.join(",\n    ")} ],
  compatibilityDate = "${COMPATIBILITY_DATE}",
  durableObjectNamespaces = [
    (className = "Mailbox", uniqueKey = "${UNIQUE_KEY}", enableSql = true),
    (className = "Segments", uniqueKey = "${UNIQUE_KEY}-segments", enableSql = true),
  ],
  durableObjectStorage = (localDisk = "objects"),
  bindings = [
    (name = "MAILBOX", durableObjectNamespace = "Mailbox"),
    (name = "SEGMENTS", durableObjectNamespace = "Segments"),
    (name = "ASSETS", service = "${hasAssets ? "assets" : "files"}"),
    ${bindings.join(",\n    ")}
  ],
);
${
  hasAssets
    ? `const assets :Workerd.Worker = (
  modules = [ (name = "assets-worker.mjs", esModule = embed "assets-worker.mjs") ],
  compatibilityDate = "${COMPATIBILITY_DATE}",
  bindings = [ (name = "FILES", service = "files") ],
);`
    : ""
}
`;
  }
}

/**
 * Hooks for a file whose tests share one relay: it must be alive after each, and its words are
 * printed when one fails. Answers an object whose `relay` is set before the first test.
 */
export function sharedRelay({ before, after, afterEach }, options) {
  const shared = {};
  before(async () => (shared.relay = await Relay.start(options)));
  afterEach((t) => {
    if (t.passed === false) console.error(`--- relay\n${shared.relay?.stderr.slice(-4_000)}\n---`);
    shared.relay?.assertAlive();
  });
  after(() => shared.relay?.stop());
  return shared;
}

/** Kills the relay `times` times at random moments while `isBusy()`; answers how often it did. */
export async function killAtRandom(relay, random, { times, everyMs, downMs, isBusy }) {
  let done = 0;
  while (done < times && isBusy()) {
    await sleep(random.between(...everyMs));
    if (!isBusy()) break;
    await relay.kill();
    done += 1;
    await sleep(random.between(...downMs));
    await relay.restart();
  }
  return done;
}

export function xmppUrl(port, account) {
  const hint = account === undefined ? "" : `?account=${encodeURIComponent(account)}`;
  return `ws://127.0.0.1:${port}/xmpp-websocket${hint}`;
}

const rank = (file) => (file === "index.js" ? 0 : 1);
const quote = (text) => JSON.stringify(text);

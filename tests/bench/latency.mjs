// How long a message takes and how many pass, over real sockets, relay and disk.
//
//   node tests/bench/latency.mjs
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { Relay } from "../harness/relay.mjs";
import { until } from "../harness/wait.mjs";
import { Wire, bare, someone } from "../harness/wire.mjs";

const LONE = 500;
const PAIRS = 10;
const EACH = 500;
const WINDOW = 50;

async function pair(relay) {
  const wires = [];
  for (const name of ["ann", "ben"]) {
    const user = someone(name);
    await Wire.register(relay, user);
    wires.push(await Wire.login(relay, user));
  }
  return wires;
}

/** One message at a time: from `send` to its arrival, in milliseconds. */
async function latencies([ann, ben], count) {
  const times = [];
  for (let i = 0; i < count; i += 1) {
    const arrived = new Promise((resolve) => (ben.onBody = resolve));
    const since = performance.now();
    ann.message(bare(ben.user), `lone ${i}`, { origin: true });
    await arrived;
    times.push(performance.now() - since);
  }
  return times.toSorted((a, b) => a - b);
}

/** As fast as a window of unreceived messages allows; answers when the last has arrived. */
async function flood([ann, ben], count) {
  let received = 0;
  let wake = () => {};
  ben.onBody = () => {
    received += 1;
    wake();
  };
  for (let i = 0; i < count; i += 1) {
    while (i - received >= WINDOW) await new Promise((resolve) => (wake = resolve));
    ann.message(bare(ben.user), `flood ${i}`, { origin: true });
  }
  await until("the last message", () => received === count, { timeoutMs: 60_000, everyMs: 1 });
}

/** Rows by table, over every mailbox on disk. */
async function rows(directory) {
  const counts = {};
  const files = await readdir(directory, { recursive: true });
  for (const file of files.filter((name) => name.endsWith(".sqlite") && !name.endsWith("metadata.sqlite"))) {
    const database = new DatabaseSync(join(directory, file));
    const tables = database.prepare("SELECT name FROM sqlite_master WHERE type = 'table'").all();
    for (const { name } of tables) {
      const { n } = database.prepare(`SELECT count(*) AS n FROM "${name}"`).get();
      counts[name] = (counts[name] ?? 0) + n;
    }
    database.close();
  }
  return counts;
}

const percentile = (sorted, p) => sorted[Math.min(sorted.length - 1, Math.floor((sorted.length * p) / 100))];
const line = (name, value) => console.log(`${name.padEnd(44)} ${value.padStart(14)}`);

const relay = await Relay.start();
try {
  const couple = await pair(relay);
  await latencies(couple, 50);
  const times = await latencies(couple, LONE);
  const pairs = await Promise.all(Array.from({ length: PAIRS }, () => pair(relay)));
  const since = performance.now();
  await Promise.all(pairs.map((each) => flood(each, EACH)));
  const seconds = (performance.now() - since) / 1_000;
  await relay.kill();
  const counts = await rows(relay.objects);
  const messages = 50 + LONE + PAIRS * EACH;

  line(`one pair, ${LONE} messages one by one: p50`, `${percentile(times, 50).toFixed(2)} ms`);
  line("  p99", `${percentile(times, 99).toFixed(2)} ms`);
  line("  slowest", `${times.at(-1).toFixed(2)} ms`);
  line(`${PAIRS} pairs, ${EACH} messages each: together`, `${Math.round((PAIRS * EACH) / seconds)} /s`);
  for (const [table, count] of Object.entries(counts).sort()) {
    line(`rows left in ${table}, per message`, (count / messages).toFixed(2));
  }
} finally {
  await relay.stop();
}
process.exit(0);

// How long a message takes and how many pass, over real sockets, relay and disk.
//
//   cargo xtask bench
import { Relay } from "../harness/relay.mjs";
import { sleep, until } from "../harness/wait.mjs";
import { Wire, bare, someone } from "../harness/wire.mjs";

const LONE = 1_000;
const RARE = 10;
const PAIRS = 10;
const EACH = 500;
const BURST = 1_000;
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

/** Rows that these mailboxes have written since they woke. */
async function rowsWritten(relay, wires) {
  const counts = wires.map(async ({ user }) => {
    const answer = await fetch(`${relay.origin}/rows?account=${encodeURIComponent(bare(user))}`);
    return (await answer.json()).rows_written;
  });
  return (await Promise.all(counts)).reduce((sum, count) => sum + count, 0);
}

/** Runs `work` and answers the rows it wrote, acks that come a moment later included. */
async function rowsOf(relay, wires, work) {
  const before = await rowsWritten(relay, wires);
  await work();
  await sleep(1_000);
  return (await rowsWritten(relay, wires)) - before;
}

const percentile = (sorted, p) => sorted[Math.min(sorted.length - 1, Math.floor((sorted.length * p) / 100))];
const line = (name, value) => console.log(`${name.padEnd(44)} ${value.padStart(14)}`);

const relay = await Relay.start({ vars: { COUNT_ROWS: "1" } });
try {
  const couple = await pair(relay);
  await latencies(couple, 50);
  let times;
  const lone = await rowsOf(relay, couple, async () => (times = await latencies(couple, LONE)));
  const rare = await rowsOf(relay, couple, async () => {
    for (let i = 0; i < RARE; i += 1) {
      await latencies(couple, 1);
      await sleep(1_000);
    }
  });
  const burst = await rowsOf(relay, couple, () => flood(couple, BURST));
  const pairs = await Promise.all(Array.from({ length: PAIRS }, () => pair(relay)));
  const since = performance.now();
  await Promise.all(pairs.map((each) => flood(each, EACH)));
  const seconds = (performance.now() - since) / 1_000;

  line(`one pair, ${LONE} messages one by one: p50`, `${percentile(times, 50).toFixed(2)} ms`);
  line("  p99", `${percentile(times, 99).toFixed(2)} ms`);
  line("  slowest", `${times.at(-1).toFixed(2)} ms`);
  line(`${PAIRS} pairs, ${EACH} messages each: together`, `${Math.round((PAIRS * EACH) / seconds)} /s`);
  const perMessage = (rows, messages) => `${(rows / messages).toFixed(2)} ($${(rows / messages).toFixed(2)}/M)`;
  line(`rows written per message, one by one`, perMessage(lone, LONE));
  line(`rows written per message, one a second`, perMessage(rare, RARE));
  line(`rows written per message, burst of ${BURST}`, perMessage(burst, BURST));
} finally {
  await relay.stop();
}
process.exit(0);

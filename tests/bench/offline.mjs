// Ten thousand messages for a device that was away: how fast they come, by themselves and in pages,
// and what the relay's memory does meanwhile.
//
//   cargo xtask bench
//   COUNT=2000 node tests/bench/offline.mjs
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { away, bodyOf, digestOf, receive, replay, summary, takePages, writeTo } from "../harness/queue.mjs";
import { Relay } from "../harness/relay.mjs";
import { Wire, bare } from "../harness/wire.mjs";

const COUNT = Number(process.env.COUNT ?? 10_000);
const SIZES = [10, 50, 200];
const SAMPLE_MS = 20;
const wanted = Array.from({ length: COUNT }, (_, i) => bodyOf(i + 1));

const line = (name, value) => console.log(`${name.padEnd(44)} ${value.padStart(28)}`);

/** Resident memory of the relay's process, in MiB. */
function residentMib(relay) {
  return Number(/VmRSS:\s*(\d+) kB/.exec(readFileSync(`/proc/${relay.pid}/status`, "utf8"))[1]) / 1_024;
}

/** CPU time of the relay's process so far, in seconds. */
function cpuSeconds(relay) {
  const fields = readFileSync(`/proc/${relay.pid}/stat`, "utf8").replace(/^.*\) /, "").split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

async function rowsOf(relay, user) {
  return (await fetch(`${relay.origin}/rows?account=${encodeURIComponent(bare(user))}`)).json();
}

/** Runs `work` and says how long it took and what it cost the relay. */
async function measured(relay, user, name, work) {
  const [rows, cpu, start] = [await rowsOf(relay, user), cpuSeconds(relay), residentMib(relay)];
  let most = start;
  const sampler = setInterval(() => (most = Math.max(most, residentMib(relay))), SAMPLE_MS);
  const since = performance.now();
  await work();
  const seconds = (performance.now() - since) / 1_000;
  clearInterval(sampler);
  const after = await rowsOf(relay, user);
  line(name, `${Math.round(COUNT / seconds)} /s`);
  line("  CPU of the relay, per message", `${(((cpuSeconds(relay) - cpu) * 1e6) / COUNT).toFixed(0)} µs`);
  line("  resident memory: before, most, after", `${[start, most, residentMib(relay)].map((mib) => mib.toFixed(0)).join(", ")} MiB`);
  const per = (what) => ((after[what] - rows[what]) / COUNT).toFixed(3);
  line("  rows read, written, per message", `${per("rows_read")}, ${per("rows_written")}`);
}

const relay = await Relay.start({ vars: { COUNT_ROWS: "1" } });
try {
  const devices = ["prompt", "eager", "again", ...SIZES.map((size) => `pages-${size}`)];
  const user = await away(relay, devices);
  const since = performance.now();
  await writeTo(relay, user, COUNT);
  line(`${COUNT} messages written by one sender`, `${Math.round((COUNT * 1_000) / (performance.now() - since))} /s`);
  const login = (resource) => Wire.login(relay, user, { resource, presence: false });

  for (const [resource, how, every] of [
    ["prompt", "acked when asked", undefined],
    ["eager", "acked every 5", 5],
    ["again", "acked when asked, again", undefined],
  ]) {
    const wire = await login(resource);
    await measured(relay, user, `come by themselves, ${how}`, async () => {
      const { bodies } = await replay(wire, COUNT, { every });
      assert.deepEqual(bodies, wanted);
    });
    await wire.close();
  }
  for (const size of SIZES) {
    const wire = await login(`pages-${size}`);
    await measured(relay, user, `in pages of ${size}, checked and receipted`, async () => {
      const told = await summary(wire, true);
      const { bodies, ids } = await takePages(wire, size);
      assert.deepEqual(bodies, wanted);
      assert.equal(digestOf(ids), told.digest);
      assert.equal((await receive(wire, told.last)).count, "0");
    });
    await wire.close();
  }
} finally {
  await relay.stop();
}
process.exit(0);

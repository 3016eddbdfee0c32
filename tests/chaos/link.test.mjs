// Both people's links are cut, taken down, stalled and half-opened at random while they write.
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { cast } from "../harness/cast.mjs";
import { breakAtRandom } from "../harness/proxy.mjs";
import { Random } from "../harness/random.mjs";
import { assertSettled, introduce, talk } from "../harness/talk.mjs";

const stage = cast({ before, after, afterEach });

const CASES = [
  { name: "cut and refused", kinds: ["cut", "down"], everyMs: [800, 3_000], lengthMs: [50, 2_000], atLeast: 6 },
  { name: "stalled and half-open", kinds: ["stall", "half-open", "cut"], everyMs: [2_000, 6_000], lengthMs: [500, 4_000], atLeast: 4 },
];

for (const { name, kinds, everyMs, lengthMs, atLeast } of CASES) {
  test(`two hundred messages each way survive links that are ${name} at random`, { timeout: 300_000 }, async () => {
    const random = Random.announced(`links ${name}`);
    const people = [await stage.registered("alice"), await stage.registered("bob")];
    await introduce(people);
    let faults = [];
    const outcome = await talk(people, {
      count: 200,
      paceMs: 200,
      settleMs: 120_000,
      disturb: async (isBusy) => {
        const options = { kinds, everyMs, lengthMs, times: 30, isBusy };
        const both = people.map(({ proxy }) => breakAtRandom(proxy, random.fork(), options));
        faults = (await Promise.all(both)).flat();
      },
    });
    const hits = people.flatMap(({ proxy }) => proxy.faults).filter(({ links }) => links > 0).length;
    const resumed = people.map(({ proxy }) => proxy.seen("<resumed"));
    const enabled = people.map(({ proxy }) => proxy.seen("<enabled"));
    console.log(`# ${faults.length} faults (${count(faults)}), ${hits} on live links; resumed ${resumed}, new ${enabled}`);
    await assertSettled(people, outcome);
    assert(hits >= atLeast, "the links were hardly hit");
    assert(resumed.every((times) => times >= 1), "nobody resumed");
    assert.deepEqual(enabled, [1, 1], "a session was begun anew");
  });
}

function count(names) {
  const counts = {};
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1;
  return Object.entries(counts).map(([name, times]) => `${name} ${times}`).join(", ");
}

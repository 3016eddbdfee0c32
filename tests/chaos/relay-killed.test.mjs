// The relay is killed at random moments while two people write, and started again on its disk.
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { cast } from "../harness/cast.mjs";
import { Random } from "../harness/random.mjs";
import { killAtRandom } from "../harness/relay.mjs";
import { assertSettled, introduce, talk } from "../harness/talk.mjs";

const stage = cast({ before, after, afterEach });

test("two hundred messages each way survive a relay that is killed again and again", { timeout: 300_000 }, async () => {
  const random = Random.announced("relay killed");
  const people = [await stage.registered("alice"), await stage.registered("bob")];
  await introduce(people);
  let kills = 0;
  const outcome = await talk(people, {
    count: 200,
    paceMs: 200,
    disturb: async (isBusy) => {
      const options = { times: 12, everyMs: [2_500, 5_000], downMs: [50, 1_500], isBusy };
      kills = await killAtRandom(stage.relay, random, options);
    },
  });
  const resumed = people.map(({ proxy }) => proxy.seen("<resumed"));
  const enabled = people.map(({ proxy }) => proxy.seen("<enabled"));
  console.log(`# ${kills} kills; resumed ${resumed}, new sessions ${enabled}`);
  await assertSettled(people, outcome);
  assert(kills >= 5, "the relay was hardly killed");
  assert.deepEqual(enabled, [1, 1], "a session was begun anew");
  for (const [i, person] of people.entries()) {
    // One pause of the back-off may outlast two kills.
    assert(resumed[i] >= Math.ceil(kills / 3), `${person.user} resumed only ${resumed[i]} times in ${kills} kills`);
    assert.equal((await person.tab.link()).resumed, true);
  }
});

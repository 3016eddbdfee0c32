// Tabs and whole browsers are killed at random moments while their people write.
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { cast } from "../harness/cast.mjs";
import { Random } from "../harness/random.mjs";
import { assertSettled, introduce, talk } from "../harness/talk.mjs";
import { sleep } from "../harness/wait.mjs";

const stage = cast({ before, after, afterEach });

const DEATHS = {
  "tab closed": (person) => person.replaceTab((tab) => person.closeTab(tab)),
  "tab crashed": (person) => person.replaceTab((tab) => person.crashTab(tab)),
  "page reloaded": (person) => person.tab.visit(),
  "browser killed": async (person) => {
    await person.kill();
    await person.launch();
    await person.tab.visit();
  },
};

test("two hundred messages each way survive tabs and browsers that die again and again", { timeout: 300_000 }, async () => {
  const random = Random.announced("tab killed");
  const people = [await stage.registered("alice"), await stage.registered("bob")];
  await introduce(people);
  const deaths = {};
  const outcome = await talk(people, {
    count: 200,
    paceMs: 200,
    disturb: async (isBusy) => {
      for (let i = 0; i < 16 && isBusy(); i += 1) {
        await sleep(random.between(1_500, 4_000));
        if (!isBusy()) break;
        const how = random.pick(Object.keys(DEATHS));
        const victim = random.pick(people);
        const peer = people.find((person) => person !== victim);
        deaths[how] = (deaths[how] ?? 0) + 1;
        victim.opening = DEATHS[how](victim).then(() => victim.tab.openChat(peer.jid));
        await victim.opening;
        victim.opening = undefined;
      }
    },
  });
  const total = Object.values(deaths).reduce((sum, times) => sum + times, 0);
  const enabled = people.map(({ proxy }) => proxy.seen("<enabled"));
  const resumed = people.map(({ proxy }) => proxy.seen("<resumed"));
  console.log(`# ${total} deaths ${JSON.stringify(deaths)}; resumed ${resumed}, new sessions ${enabled}`);
  await assertSettled(people, outcome);
  assert(total >= 5, "hardly anything died");
  assert.deepEqual(enabled, [1, 1], "a session was begun anew");
  assert(resumed[0] + resumed[1] >= total / 2, "sessions were hardly resumed");
});

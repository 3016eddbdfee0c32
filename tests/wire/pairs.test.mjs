// Three clients we did not write, each writing to each: nine pairs, 200 numbers in one direction.
// No stream ends with a farewell, and what the receiver's library hands its user must be the numbers
// in order.
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { LIBRARIES } from "../harness/foreign.mjs";
import { CUTS, Person, numbers } from "../harness/person.mjs";
import { Random } from "../harness/random.mjs";
import { sharedRelay } from "../harness/relay.mjs";
import { sleep } from "../harness/wait.mjs";

const shared = sharedRelay({ before, after, afterEach });

describe("two hundred messages arrive once and in order", { concurrency: 3 }, () => {
  for (const Sender of LIBRARIES) {
    for (const Receiver of LIBRARIES) {
      const who = `${Sender.label} to ${Receiver.label}`;
      test(`from ${who}`, { timeout: 90_000 }, async (t) => {
        const random = Random.announced(who);
        const sender = await Person.meet(t, shared.relay, Sender);
        const receiver = await Person.meet(t, shared.relay, Receiver);
        const { account } = receiver;
        const breakLink = (person) => person.suffers(random.pick(CUTS));
        const breakAmid = async (...rounds) => {
          for (const victims of rounds) {
            await sleep(random.between(50, 200));
            await Promise.all(victims.map(breakLink));
          }
        };

        await Promise.all([
          sender.writes(account, numbers(1, 100)),
          breakAmid([sender], [receiver], [sender], [sender, receiver]),
        ]);

        // Away, while its session waits.
        receiver.vanish();
        await sender.writes(account, numbers(101, 130));
        await sender.isRidOf(130);
        receiver.proxy.heal();
        await receiver.resumes();
        await receiver.has(130);
        // What it counts in a resumption, another session is not given again.
        await breakLink(receiver);
        receiver.assertKeptItsSession();

        // Away, and another client comes back.
        receiver.vanish();
        await receiver.client.stop();
        await sender.writes(account, numbers(131, 160));
        await sender.isRidOf(160);
        receiver.proxy.heal();
        await receiver.begin();
        await receiver.has(160);

        await Promise.all([sender.writes(account, numbers(161, 199)), breakAmid([receiver], [sender, receiver])]);
        await sender.isRidOf(199);
        await receiver.has(199);
        await Promise.all([sender, receiver].map(breakLink));
        // Whatever came a second time came before this one.
        await sender.writes(account, ["200"]);
        await receiver.comesTo("have the last one", () => receiver.shown.includes("200"));
        assert.deepEqual(receiver.shown, numbers(1, 200));
        sender.assertKeptItsSession();
        receiver.assertKeptItsSession();
      });
    }
  }
});

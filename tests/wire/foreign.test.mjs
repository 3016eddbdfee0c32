// Clients we did not write, talking both ways at once while their links are cut and the relay is killed.
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { StropheJs, XmppJs } from "../harness/foreign.mjs";
import { Ledger } from "../harness/ledger.mjs";
import { Proxy } from "../harness/proxy.mjs";
import { Random } from "../harness/random.mjs";
import { sharedRelay, xmppUrl } from "../harness/relay.mjs";
import { sleep, until } from "../harness/wait.mjs";
import { Wire, bare, passwordOf, someone } from "../harness/wire.mjs";

const COUNT = 100;
const CUTS = 4;
const shared = sharedRelay({ before, after, afterEach });

async function person(t, Library, { hint }) {
  const user = someone(Library === XmppJs ? "xmppjs" : "strophe");
  await Wire.register(shared.relay, user);
  const proxy = await Proxy.start(shared.relay.port);
  const url = xmppUrl(proxy.port, hint ? bare(user) : undefined);
  const client = new Library({ user, password: passwordOf(user), url });
  t.after(async () => {
    await client.stop();
    await proxy.stop();
  });
  await client.start();
  return { client, proxy, user };
}

/** Both write `COUNT` messages while `disturb` does its worst; answers the settled ledger. */
async function converse(people, disturb) {
  const ledger = new Ledger();
  const ids = new Map();
  for (const [i, { client, user }] of people.entries()) {
    const other = people[1 - i];
    client.onMessage = (body, from) => {
      assert.equal(from.split("/")[0], bare(other.user));
      ledger.deliver(user, body);
    };
  }
  let left = 2 * COUNT;
  const write = async ({ client, user }, other) => {
    for (let n = 1; n <= COUNT; n += 1) {
      const token = ledger.attempt(user, other.user, `${user} says ${n}`);
      ids.set(client.send(bare(other.user), token), token);
      left -= 1;
      await sleep(15);
    }
  };
  await Promise.all([write(people[0], people[1]), write(people[1], people[0]), disturb(() => left > 0)]);
  await until("everything to arrive", () => ledger.isComplete(), { timeoutMs: 40_000, detail: () => ledger.table() });
  await until(
    "everything to be acknowledged",
    () => people.every(({ client }) => client.acknowledged.length === COUNT),
    { timeoutMs: 40_000 },
  );
  for (const { client } of people) for (const id of client.acknowledged) ledger.acknowledge(ids.get(id));
  await sleep(1_000); // time for a duplicate to show itself
  return ledger;
}

for (const [First, Second] of [[XmppJs, StropheJs], [XmppJs, XmppJs], [StropheJs, StropheJs]]) {
  for (const hint of [false, true]) {
    const how = hint ? "straight to their mailboxes" : "through the lobby";
    const who = `${First.label} and ${Second.label}`;
    describe(`${who}, ${how}`, () => {
      test(`exchange ${COUNT} messages each way while their links are cut`, { timeout: 120_000 }, async (t) => {
        const random = Random.announced(`${who} ${how}`);
        const people = [await person(t, First, { hint }), await person(t, Second, { hint })];
        let cuts = 0;
        const ledger = await converse(people, async (isBusy) => {
          while (isBusy() && cuts < CUTS) {
            await sleep(random.between(150, 400));
            const victim = random.pick(people);
            await until("the victim to be up", () => victim.client.isUp, { timeoutMs: 20_000 });
            victim.proxy.cut({ rst: random.next() < 0.5 });
            cuts += 1;
          }
        });
        const resumptions = people.reduce((sum, { client }) => sum + client.resumptions, 0);
        console.log(`# ${cuts} cuts, ${resumptions} resumptions`);
        ledger.assertClean();
        assert(cuts >= 2, "the links were hardly cut");
        assert.equal(resumptions, cuts, "a cut ended in a new session");
      });
    });
  }
}

test("both libraries go on after the relay was killed amid their talk", { timeout: 120_000 }, async (t) => {
  const people = [await person(t, XmppJs, { hint: true }), await person(t, StropheJs, { hint: false })];
  const ledger = await converse(people, async () => {
    await sleep(500);
    await shared.relay.kill();
    await sleep(300);
    await shared.relay.restart();
  });
  ledger.assertClean();
  for (const { client } of people) assert(client.resumptions >= 1, `${client.constructor.label} did not resume`);
});

test("a library gets what was written while it was gone, and its receipts reach an absent sender", { timeout: 60_000 }, async (t) => {
  const [first, second] = [await person(t, XmppJs, { hint: false }), await person(t, StropheJs, { hint: true })];
  second.client.answersRequests = true;
  second.proxy.down();
  await until("strophe.js to notice", () => !second.client.isUp);
  const ids = Array.from({ length: 10 }, (_, i) => first.client.send(bare(second.user), `away ${i}`, { request: true }));
  await until("acknowledgement", () => first.client.acknowledged.length === 10);
  first.proxy.down();
  second.proxy.heal();
  await until("the ten messages", () => second.client.received.length >= 10, { timeoutMs: 20_000 });
  assert.deepEqual(second.client.received.map(({ body }) => body), ids.map((_, i) => `away ${i}`));
  first.proxy.heal();
  await until("the ten receipts", () => ids.every((id) => first.client.receipts.has(id)), { timeoutMs: 20_000 });
});

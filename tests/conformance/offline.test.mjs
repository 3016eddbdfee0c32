// Ten thousand messages for a device that was away: by themselves, and in pages with a digest and one receipt.
//
// How fast is for `bench/offline.mjs` to say.
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { away, bodyOf, digestOf, receive, replay, summary, takePages, writeTo } from "../harness/queue.mjs";
import { sharedRelay } from "../harness/relay.mjs";
import { Wire, bare } from "../harness/wire.mjs";

const COUNT = 10_000;
const SIZES = [10, 50, 200];
const TIMEOUT_MS = 300_000;

const shared = sharedRelay({ before, after, afterEach });
const wanted = Array.from({ length: COUNT }, (_, i) => bodyOf(i + 1));

describe("ten thousand messages for a device that was away", { timeout: TIMEOUT_MS }, () => {
  let user;
  before(async () => {
    user = await away(shared.relay, ["phone", "cut", ...SIZES.map((size) => `pages-${size}`)]);
    await writeTo(shared.relay, user, COUNT);
  }, { timeout: TIMEOUT_MS });

  const login = (resource, options) => Wire.login(shared.relay, user, { resource, presence: false, ...options });

  const here = [];

  test("come in order, each once, though the link is cut on the way and the relay killed", { timeout: TIMEOUT_MS }, async () => {
    const cuts = [1_234, 5_678, 8_901];
    const seen = [];
    let wire = await login("cut");
    for (const [round, at] of [...cuts, COUNT].entries()) {
      const left = at - seen.length;
      const { bodies } = round === 0 ? await replay(wire, left) : await resumed(wire, left);
      if (at < COUNT) await wire.vanish();
      seen.push(...bodies);
      if (at === COUNT) break;
      if (round === 1) {
        await shared.relay.kill();
        await shared.relay.restart();
      }
      wire = Object.assign(await login("cut", { resume: true }), { previous: wire });
    }
    assert.deepEqual(seen, wanted);
    here.push(wire);
  });

  test("come all by themselves, in order, each once", { timeout: TIMEOUT_MS }, async () => {
    const phone = await login("phone");
    const { bodies, ids } = await replay(phone, COUNT);
    assert.deepEqual(bodies, wanted);
    assert.equal(new Set(ids).size, COUNT);
    await phone.settle();
    phone.ack();
    await phone.settle();
    assert.equal((await summary(phone)).count, "0");
    here.push(phone);
  });

  async function resumed(wire, count) {
    const taken = replay(wire, count, { presence: false });
    // What comes is counted from what is told here.
    assert.equal((await wire.resume(wire.previous)).name, "resumed");
    return taken;
  }

  for (const size of SIZES) {
    test(`come in pages of ${size}, agree with the digest, and are confirmed at once`, { timeout: TIMEOUT_MS }, async () => {
      const wire = await login(`pages-${size}`);
      const told = await summary(wire, true);
      assert.equal(told.count, String(COUNT));
      wire.send("<presence xmlns='jabber:client'/>");
      const { bodies, ids, sizes } = await takePages(wire, size);
      assert.deepEqual(bodies, wanted);
      assert.deepEqual(sizes, Array(COUNT / size).fill(size));
      assert.equal(digestOf(ids), told.digest);
      assert.deepEqual([ids[0], ids.at(-1)], [told.first, told.last]);
      assert.deepEqual(wire.bodies, [], "something came by itself");
      assert.equal((await receive(wire, told.last)).count, "0");
      here.push(wire);
    });
  }

  test("are followed by what is written next, which comes by itself to each of these devices", async () => {
    const alice = await Wire.login(shared.relay, await Wire.registered(shared.relay, "alice"));
    alice.message(bare(user), "afterwards");
    for (const wire of here) {
      wire.onText = () => false;
      await wire.expectMessage("afterwards");
      assert.deepEqual(wire.bodies, ["afterwards"]);
    }
  });
});

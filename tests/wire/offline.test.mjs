// What waits for a device, taken in pages of its own and confirmed in one piece (`shared::offline`).
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, afterEach, before, describe, test } from "node:test";
import { pages } from "../harness/archive.mjs";
import { sharedRelay } from "../harness/relay.mjs";
import { Wire, bare } from "../harness/wire.mjs";
import { NS } from "../harness/xml.mjs";

const shared = sharedRelay({ before, after, afterEach });
const login = (user, options) => Wire.login(shared.relay, user, options);
const numbered = (count) => Array.from({ length: count }, (_, i) => `message ${i + 1}`);

const registered = (name) => Wire.registered(shared.relay, name);

/** Alice has written to Bob, whose phone is away and has confirmed nothing of it. */
async function written(count) {
  const [alice, user] = [await login(await registered("alice")), await registered("bob")];
  const phone = await login(user, { resource: "phone" });
  await phone.close();
  for (const body of numbered(count)) alice.message(bare(user), body, { origin: true });
  assert.equal(await alice.ask(), alice.sent);
  return [alice, user];
}

const summaryOf = (answer) => answer.get("summary", NS.offline).attrs;
const summary = async (wire) => summaryOf(await wire.iq("get", `<summary xmlns='${NS.offline}' hold='true'/>`));
const received = async (wire, upto) => summaryOf(await wire.iq("set", `<received xmlns='${NS.offline}' upto='${upto}'/>`));
const available = (wire) => wire.send("<presence xmlns='jabber:client'/>");
const digestOf = (ids) => createHash("sha256").update(ids.map((id) => `${id}\n`).join("")).digest("base64");

describe("what waits for a device", () => {
  for (const max of [10, 50, 200]) {
    test(`is taken in pages of ${max}, checked against the summary, and confirmed at once`, async () => {
      const [alice, user] = await written(230);
      const phone = await login(user, { resource: "phone", presence: false });
      const told = await summary(phone);
      available(phone);
      assert.equal(told.count, "230");
      const [ids, bodies] = [[], []];
      for await (const { results } of pages(phone, { max })) {
        assert(results.length <= max);
        ids.push(...results.map(({ id }) => id));
        bodies.push(...results.map(({ body }) => body));
      }
      assert.deepEqual(bodies, numbered(230));
      assert.equal(digestOf(ids), told.digest);
      assert.deepEqual([ids[0], ids.at(-1)], [told.first, told.last]);
      assert.deepEqual(phone.bodies, [], "nothing came by itself");
      assert.equal((await received(phone, told.last)).count, "0");
      alice.message(bare(user), "live");
      await phone.expectMessage("live");
    });
  }

  test("stays as it was confirmed when the relay dies, for this device and for no other", async () => {
    const [, user] = await written(30);
    const phone = await login(user, { resource: "phone", presence: false });
    await summary(phone);
    assert.equal((await received(phone, 20)).count, "10");
    await shared.relay.kill();
    await shared.relay.restart();
    const again = await login(user, { resource: "phone", presence: false });
    assert.equal((await summary(again)).first, "21");
  });

  test("comes by itself to a device that does not ask, while another takes its pages", async () => {
    const [alice, user] = await written(40);
    const phone = await login(user, { resource: "phone", presence: false });
    await summary(phone);
    available(phone);
    // A device that was never there has no queue; this one is there from here on.
    const laptop = await login(user, { resource: "laptop" });
    alice.message(bare(user), "new");
    await laptop.expectMessage("new");
    assert.deepEqual(phone.bodies, []);
    assert.equal((await received(phone, 41)).count, "0");
  });
});

// Two devices of one account have one timeline: the same messages, under the same ids, in the same
// order, whether they were there, came later, or read the archive.
import assert from "node:assert/strict";
import { after, afterEach, before, describe } from "node:test";
import { everything } from "../harness/archive.mjs";
import { receive, summary } from "../harness/queue.mjs";
import { until } from "../harness/wait.mjs";
import { bare } from "../harness/wire.mjs";
import { NS } from "../harness/xml.mjs";
import { AVAILABLE, WIDTH, scenarios } from "./stage.mjs";

const scenario = scenarios({ before, after, afterEach });
const TURNS = 60;
const ENABLE = `<enable xmlns='${NS.carbons}'/>`;

/** A message of the timeline, out of what a device was sent of it: id, who wrote it, to whom, what. */
function entryOf(frame, account) {
  if (!frame.is("message")) return [];
  const carbon = frame.get("sent", NS.carbons) ?? frame.get("received", NS.carbons);
  const message = carbon ? carbon.get("forwarded", NS.forward).get("message", NS.client) : frame;
  const id = message.all("stanza-id", NS.sid).find(({ attrs }) => attrs.by === account)?.attrs.id;
  return message.body === undefined ? [] : [{ id, from: message.attrs.from, body: message.body }];
}

/** Keeps what comes to this device, as its owner would see it. */
function watch(wire) {
  const seen = [];
  wire.onFrame = (frame) => {
    seen.push(...entryOf(frame, bare(wire.user)));
    return false;
  };
  return seen;
}

/** Alice's phone and Bob write to each other, now one at a time and now both at once. */
async function converse(phone, bob, turns = TURNS) {
  for (let n = 1; n <= turns; n += 1) {
    phone.message(n % 5 === 0 ? bob.jid : bare(bob.user), `from alice ${n}`, { origin: true });
    bob.message(n % 3 === 0 ? phone.jid : bare(phone.user), `from bob ${n}`, { origin: n % 2 === 0 || undefined });
    if (n % 7 === 0) await Promise.all([phone.settle(), bob.settle()]);
  }
  await phone.expectMessage(`from bob ${turns}`);
  await bob.expectMessage(`from alice ${turns}`);
  await Promise.all([phone.settle(), bob.settle()]);
}

/** What the archive has, as entries. */
async function archived(wire, max) {
  return (await everything(wire, max)).map(({ id, body, xml }) => ({ id, from: /\bfrom=['"]([^'"]*)/.exec(xml)[1], body }));
}

/** Alice with a phone, and a tablet that has been there before; Bob. */
async function couple(stage) {
  const [user, bob] = [await stage.account("alice"), await stage.person("bob")];
  const tablet = await stage.login(user, { resource: "tablet" });
  await tablet.iq("set", ENABLE);
  const phone = await stage.login(user, { resource: "phone" });
  await phone.iq("set", ENABLE);
  return { phone, tablet, bob };
}

/** What the phone shows: what it was sent, and what it wrote under the ids it was told. */
function shownBy(phone, archive, seen) {
  const written = archive.filter(({ from }) => from === phone.jid);
  return [...seen, ...written].toSorted((a, b) => Number(a.id) - Number(b.id));
}

describe("a second device of the sender", { concurrency: WIDTH }, () => {
  scenario("that is there has the same timeline as the first", async (stage) => {
    const { phone, tablet, bob } = await couple(stage);
    const [onPhone, onTablet] = [watch(phone), watch(tablet)];
    await converse(phone, bob);
    await until("the tablet to have it", () => onTablet.length >= 2 * TURNS);
    await tablet.settle();
    const archive = await archived(phone, 50);
    assert.equal(archive.length, 2 * TURNS);
    assert.deepEqual(onTablet, archive);
    assert.deepEqual(shownBy(phone, archive, onPhone), archive);
  });

  scenario("that comes after the conversation has the same timeline as the first, out of its queue", async (stage) => {
    const { phone, tablet, bob } = await couple(stage);
    await tablet.close();
    const onPhone = watch(phone);
    await converse(phone, bob);
    const back = await stage.login(phone.user, { resource: "tablet", presence: false });
    await back.iq("set", ENABLE);
    const onTablet = watch(back);
    back.send(AVAILABLE);
    await until("the tablet to have it", () => onTablet.length >= 2 * TURNS);
    await back.settle();
    const archive = await archived(phone, 50);
    assert.deepEqual(onTablet, archive);
    assert.deepEqual(shownBy(phone, archive, onPhone), archive);
    assert.deepEqual(await everything(back, 17), await everything(phone, 50), "the archive, byte for byte");
  });

  scenario("that comes in the middle of it has the same timeline, half out of its queue and half live", async (stage) => {
    const { phone, tablet, bob } = await couple(stage);
    await tablet.close();
    await converse(phone, bob);
    const back = await stage.login(phone.user, { resource: "tablet", presence: false });
    await back.iq("set", ENABLE);
    const onTablet = watch(back);
    const going = converse(phone, bob, 2 * TURNS);
    back.send(AVAILABLE);
    await going;
    await until("the tablet to have it", () => onTablet.length >= 6 * TURNS);
    await back.settle();
    assert.deepEqual(onTablet, await archived(phone, 200));
  });

  scenario("whose link breaks in the middle of it has the same timeline after it has resumed", async (stage) => {
    const { phone, tablet, bob } = await couple(stage);
    await tablet.settle();
    tablet.answers = false;
    const before = watch(tablet);
    await converse(phone, bob);
    await tablet.vanish();
    // The last ten were under way when it broke.
    const had = before.slice(0, -10);
    await converse(phone, bob);
    const back = await stage.again(tablet);
    const since = watch(back);
    assert.equal((await back.resume(tablet, tablet.handled - 10)).name, "resumed");
    await until("the tablet to have it", () => had.length + since.length >= 4 * TURNS);
    await back.settle();
    assert.deepEqual([...had, ...since], await archived(phone, 200));
  });

  scenario("that takes its queue in pages has the same timeline, and the digest of the relay agrees", async (stage) => {
    const { phone, tablet, bob } = await couple(stage);
    await tablet.close();
    await converse(phone, bob);
    const back = await stage.login(phone.user, { resource: "tablet", presence: false });
    const told = await summary(back, true);
    assert.equal(told.count, String(2 * TURNS));
    assert.deepEqual(await archived(back, 10), await archived(phone, 200));
    assert.equal((await receive(back, told.last)).count, "0");
  });

  scenario("without carbons has it from the archive, under the ids and in the order of the first", async (stage) => {
    const { phone, tablet, bob } = await couple(stage);
    await tablet.close();
    await converse(phone, bob);
    const back = await stage.login(phone.user, { resource: "tablet" });
    assert.deepEqual(await everything(back, 23), await everything(phone, 200));
  });

  scenario("and every device of the receiver agree on the order of what the sender wrote", async (stage) => {
    const { phone, bob } = await couple(stage);
    const laptop = await stage.login(bob.user, { resource: "laptop" });
    await laptop.iq("set", ENABLE);
    await laptop.settle();
    await converse(phone, bob);
    const alices = (entries) => entries.filter(({ body }) => body.startsWith("from alice")).map(({ body }) => body);
    const wanted = Array.from({ length: TURNS }, (_, i) => `from alice ${i + 1}`);
    for (const wire of [phone, bob, laptop]) assert.deepEqual(alices(await archived(wire, 100)), wanted);
    assert.deepEqual(await everything(laptop, 19), await everything(bob, 200));
  });
});

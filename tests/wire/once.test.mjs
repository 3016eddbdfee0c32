// Exactly once in the log: what is a repeat and what is not, and what waits for an absent device.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, afterEach, before, describe, test } from "node:test";
import { Ledger } from "../harness/ledger.mjs";
import { sharedRelay } from "../harness/relay.mjs";
import { sleep } from "../harness/wait.mjs";
import { Wire, bare } from "../harness/wire.mjs";
import { NS } from "../harness/xml.mjs";

const shared = sharedRelay({ before, after, afterEach });
const ACCEPT = `<accept xmlns='${NS.accepted}'/>`;
const REQUEST = `<request xmlns='${NS.receipts}'/>`;
const login = (user, options) => Wire.login(shared.relay, user, options);
const numbered = (count) => Array.from({ length: count }, (_, i) => `message ${i + 1}`);

const registered = (name) => Wire.registered(shared.relay, name);

async function pair() {
  return [await login(await registered("alice")), await login(await registered("bob"))];
}

/** The relay's word for one message: the stanza-id it gave to this origin-id. */
async function accepted(wire, origin) {
  const is = (child) => child.attrs["origin-id"] === origin;
  const found = await wire.expect(
    (frame) => frame.is("message") && frame.all("accepted", NS.accepted).some(is),
    `<accepted/> of ${origin}`,
  );
  assert.equal(found.attrs.from, bare(wire.user), found.xml);
  return found.all("accepted", NS.accepted).find(is).attrs["stanza-id"];
}

/** Everything that was under way to `wire` has arrived. */
async function quiet(sender, wire) {
  await sender.settle();
  const last = randomUUID();
  sender.message(bare(wire.user), last);
  await wire.expectMessage(last);
  return wire.bodies.filter((body) => body !== last);
}

describe("a repeat of the same origin-id", () => {
  test("is delivered once and answered with the first one's stanza-id", async () => {
    const [alice, bob] = await pair();
    const origin = randomUUID();
    const send = () => alice.message(bare(bob.user), "hello", { origin, extra: ACCEPT });
    send();
    const first = await accepted(alice, origin);
    send();
    assert.equal(await accepted(alice, origin), first);
    assert.deepEqual(await quiet(alice, bob), ["hello"]);
  });

  test("is one message even from a new login after a crash of the relay", async () => {
    const [alice, bob] = await pair();
    const origin = randomUUID();
    alice.message(bare(bob.user), "hello", { origin, extra: ACCEPT });
    const first = await accepted(alice, origin);
    await bob.expectMessage("hello");
    await bob.settle();
    bob.ack();
    await bob.settle();
    await shared.relay.kill();
    await shared.relay.restart();
    const [alice2, bob2] = [await login(alice.user), await login(bob.user, { resume: true })];
    assert.equal((await bob2.resume(bob)).name, "resumed");
    alice2.message(bare(bob.user), "hello", { origin, extra: ACCEPT });
    assert.equal(await accepted(alice2, origin), first);
    assert.deepEqual(await quiet(alice2, bob2), []);
  });

  test("by somebody else is another message", async () => {
    const [alice, bob] = await pair();
    const carol = await login(await registered("carol"));
    const origin = randomUUID();
    alice.message(bare(bob.user), "by alice", { origin });
    carol.message(bare(bob.user), "by carol", { origin });
    await bob.expectMessage("by alice");
    await bob.expectMessage("by carol");
  });
});

describe("without an origin-id", () => {
  test("the same id with another text is another message", async () => {
    const [alice, bob] = await pair();
    alice.message(bare(bob.user), "one", { id: "m1" });
    alice.message(bare(bob.user), "two", { id: "m1" });
    assert.deepEqual(await quiet(alice, bob), ["one", "two"]);
  });

  test("the same id and text from the same device is the same message", async () => {
    const [alice, bob] = await pair();
    alice.message(bare(bob.user), "one", { id: "m1" });
    await alice.ask();
    alice.message(bare(bob.user), "one", { id: "m1" });
    assert.deepEqual(await quiet(alice, bob), ["one"]);
  });

  test("the same id and text from another device is another message", async () => {
    const [alice, bob] = await pair();
    const other = await login(alice.user, { resource: "other" });
    alice.message(bare(bob.user), "one", { id: "m1" });
    await alice.ask();
    other.message(bare(bob.user), "one", { id: "m1" });
    assert.deepEqual(await quiet(other, bob), ["one", "one"]);
  });

  test("the same text without any id is sent as often as it is written", async () => {
    const [alice, bob] = await pair();
    const xml = `<message xmlns='jabber:client' to='${bare(bob.user)}' type='chat'><body>ha</body></message>`;
    for (let i = 0; i < 3; i += 1) alice.send(xml);
    assert.deepEqual(await quiet(alice, bob), ["ha", "ha", "ha"]);
  });
});

describe("an absent device", () => {
  for (const count of [30, 350]) {
    test(`gets ${count} messages once, in order, with the time each was received`, async () => {
      const [alice, user] = [await login(await registered("alice")), await registered("bob")];
      await (await login(user, { resource: "phone" })).close();
      const since = Date.now();
      const ledger = new Ledger();
      for (const body of numbered(count)) alice.message(bare(user), ledger.attempt("alice", "bob", body), { origin: true });
      assert.equal(await alice.ask(), alice.sent);
      for (const body of numbered(count)) ledger.acknowledge(body);

      const bob = await login(user, { resource: "phone" });
      for (const body of numbered(count)) {
        const message = await bob.expectMessage(body, 15_000);
        const stamp = Date.parse(message.get("delay", NS.delay)?.attrs.stamp);
        assert(stamp >= since - 2_000 && stamp <= Date.now() + 2_000, message.xml);
        const id = message.get("stanza-id", NS.sid);
        assert.equal(id?.attrs.by, bare(user), message.xml);
      }
      await bob.settle();
      ledger.replace("bob", bob.bodies);
      ledger.assertClean();
      bob.ack();
      await bob.settle();
      await bob.close();
      const back = await login(user, { resource: "phone" });
      await back.settle();
      assert.deepEqual(back.bodies, [], "what was acknowledged came again");
    });
  }

  test("gets again what it had not acknowledged, also on a new session", async () => {
    const [alice, bob] = await pair();
    bob.answers = false;
    for (const body of numbered(4)) alice.message(bare(bob.user), body);
    await bob.expectMessage("message 4");
    await bob.vanish();
    const back = await login(bob.user, { resource: bob.jid.split("/")[1] });
    await back.expectMessage("message 4");
    await back.settle();
    assert.deepEqual(back.bodies, numbered(4));
  });

  test("gets its messages after the relay was killed meanwhile", async () => {
    const [alice, user] = [await login(await registered("alice")), await registered("bob")];
    await (await login(user, { resource: "phone" })).close();
    for (const body of numbered(10)) alice.message(bare(user), body);
    assert.equal(await alice.ask(), alice.sent);
    await shared.relay.kill();
    await shared.relay.restart();
    const bob = await login(user, { resource: "phone" });
    await bob.expectMessage("message 10");
    assert.deepEqual(bob.bodies, numbered(10));
  });

  test("each of two devices gets everything, whichever was away", async () => {
    const [alice, bob] = await pair();
    const tablet = await login(bob.user, { resource: "tablet" });
    await tablet.settle();
    await tablet.vanish();
    for (const body of numbered(5)) alice.message(bare(bob.user), body);
    await bob.expectMessage("message 5");
    const back = await login(bob.user, { resume: true });
    assert.equal((await back.resume(tablet)).name, "resumed");
    await back.expectMessage("message 5");
    await back.settle();
    assert.deepEqual(back.bodies, numbered(5));
    assert.deepEqual(bob.bodies, numbered(5));
  });

  test("gets the receipts of what it sent, in order", async () => {
    const [alice, bob] = await pair();
    const ids = [];
    for (const body of numbered(3)) ids.push(alice.message(bare(bob.user), body, { origin: true, extra: REQUEST }));
    await bob.expectMessage("message 3");
    await alice.settle();
    await alice.vanish();
    for (const id of ids) {
      bob.message(bare(alice.user), null, { extra: `<received xmlns='${NS.receipts}' id='${id}'/>` });
    }
    assert.equal(await bob.ask(), bob.sent);
    await sleep(100);
    const back = await login(alice.user, { resume: true });
    assert.equal((await back.resume(alice)).name, "resumed");
    for (const id of ids) {
      const receipt = await back.expect((frame) => frame.get("received", NS.receipts), "a receipt");
      assert.equal(receipt.get("received", NS.receipts).attrs.id, id);
      assert.equal(receipt.attrs.from.split("/")[0], bare(bob.user));
    }
  });

  test("gets a receipt even when it had no session left to resume", async () => {
    const [alice, bob] = await pair();
    const id = alice.message(bare(bob.user), "hello", { origin: true, extra: REQUEST });
    await bob.expectMessage("hello");
    const resource = alice.jid.split("/")[1];
    await alice.close();
    bob.message(bare(alice.user), null, { extra: `<received xmlns='${NS.receipts}' id='${id}'/>` });
    assert.equal(await bob.ask(), bob.sent);
    const back = await login(alice.user, { resource });
    await back.expect((frame) => frame.get("received", NS.receipts)?.attrs.id === id, "the receipt");
  });
});

describe("the intermediate receipt", () => {
  test("comes for every message that asks, with ids that grow", async () => {
    const [alice, bob] = await pair();
    const origins = numbered(5).map((body) => alice.message(bare(bob.user), body, { origin: true, extra: ACCEPT }));
    const ids = [];
    for (const origin of origins) ids.push(Number(await accepted(alice, origin)));
    assert.deepEqual(ids, [...new Set(ids)].sort((a, b) => a - b));
  });

  test("comes to nobody who did not ask, and does not reach the recipient", async () => {
    const [alice, bob] = await pair();
    alice.message(bare(bob.user), "plain", { origin: true });
    alice.message(bare(bob.user), "asking", { origin: true, extra: ACCEPT });
    await bob.expectMessage("asking");
    await quiet(alice, bob);
    const answers = alice.waiting.filter((frame) => frame.get("accepted", NS.accepted));
    assert.equal(answers.flatMap((frame) => frame.all("accepted", NS.accepted)).length, 1);
    assert(bob.waiting.every((frame) => !frame.get("accepted", NS.accepted)));
  });
});

// XEP-0198: counting, asking, resuming; and what survives a crash of the relay.
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { sharedRelay } from "../harness/relay.mjs";
import { sleep, until, within } from "../harness/wait.mjs";
import { Wire, bare, someone } from "../harness/wire.mjs";
import { NS } from "../harness/xml.mjs";

const shared = sharedRelay({ before, after, afterEach });
const numbered = (count, word = "message") => Array.from({ length: count }, (_, i) => `${word} ${i + 1}`);

async function pair(options = {}) {
  const people = [];
  for (const name of ["alice", "bob"]) {
    const user = someone(name);
    await Wire.register(shared.relay, user);
    people.push(await Wire.login(shared.relay, user, options[name]));
  }
  return people;
}

const again = (wire) => Wire.login(shared.relay, wire.user, { resume: true });

describe("stream management", () => {
  test("is offered, and <enabled/> carries an id and at most ten minutes", async () => {
    const [alice] = await pair({ alice: { sm: false } });
    assert(alice.features.get("sm", NS.sm), alice.features.xml);
    const enabled = await alice.enable();
    assert(enabled.attrs.id.length >= 16, enabled.xml);
    assert(["true", "1"].includes(enabled.attrs.resume), enabled.xml);
    assert(Number(enabled.attrs.max) > 0 && Number(enabled.attrs.max) <= 600, enabled.xml);
  });

  test("is refused before a resource is bound", async () => {
    const user = someone("early");
    await Wire.register(shared.relay, user);
    const wire = await Wire.login(shared.relay, user, { resume: true });
    wire.send(`<enable xmlns='${NS.sm}' resume='true'/>`);
    const failed = await wire.expect((frame) => frame.is("failed", NS.sm));
    assert.equal(failed.condition, "unexpected-request", failed.xml);
  });

  test("is refused a second time on one stream", async () => {
    const [alice] = await pair();
    alice.send(`<enable xmlns='${NS.sm}' resume='true'/>`);
    const answer = await alice.expect((frame) => frame.is("failed", NS.sm) || frame.is("error", NS.streams));
    assert.match(answer.xml, /unexpected-request|policy-violation|unsupported-stanza-type/);
  });

  test("counts stanzas and nothing else", async () => {
    const [alice, bob] = await pair();
    alice.message(bare(bob.user), "one");
    alice.send("<presence xmlns='jabber:client'/>");
    alice.send(`<r xmlns='${NS.sm}'/>`);
    alice.ack();
    assert.equal(await alice.ask(), alice.sent);
    alice.message(bare(bob.user), "two");
    assert.equal(await alice.ask(), alice.sent);
  });

  test("is asked for by the relay after five stanzas at the latest", async () => {
    const [alice, bob] = await pair({ bob: { answers: false } });
    await bob.settle();
    bob.ack();
    bob.drop();
    for (const body of numbered(5)) alice.message(bare(bob.user), body);
    await bob.expectMessage("message 5");
    await bob.expect((frame) => frame.is("r", NS.sm), "<r/>", 2_000);
  });

  test("is asked for by the relay when a lone stanza stays unacknowledged", async () => {
    const [alice, bob] = await pair({ bob: { answers: false } });
    await bob.settle();
    bob.ack();
    bob.drop();
    alice.message(bare(bob.user), "lone");
    await bob.expectMessage("lone");
    await bob.expect((frame) => frame.is("r", NS.sm), "<r/>", 3_000);
  });

  test("ends the link of a device that does not answer, and keeps its session", { timeout: 40_000 }, async () => {
    const [alice, bob] = await pair({ bob: { answers: false } });
    alice.message(bare(bob.user), "unanswered");
    const error = await bob.expect((frame) => frame.is("error", NS.streams), "connection-timeout", 20_000);
    assert.equal(error.condition, "connection-timeout");
    await within(10_000, "the socket to close", bob.closed);
    const back = await again(bob);
    assert.equal((await back.resume(bob, 0)).name, "resumed");
    await back.expectMessage("unanswered");
  });

  test("ends the stream with handled-count-too-high when an ack claims more than was sent", async () => {
    const [alice] = await pair();
    await alice.settle();
    alice.ack(1_000_000);
    const error = await alice.expect((frame) => frame.is("error", NS.streams));
    assert.equal(error.condition, "undefined-condition", error.xml);
    const detail = error.get("handled-count-too-high", NS.sm);
    assert.equal(detail?.attrs.h, "1000000", error.xml);
    assert(Number(detail.attrs["send-count"]) < 1_000, error.xml);
    await within(15_000, "the socket to close", alice.closed);
  });

  for (const h of ["-1", "4294967296", "x", ""]) {
    test(`survives an ack with h='${h}'`, async () => {
      const [alice, bob] = await pair();
      alice.send(`<a xmlns='${NS.sm}' h='${h}'/>`);
      await alice.expect((frame) => frame.is("error", NS.streams));
      bob.message(bare(alice.user), "still here?");
      const back = await Wire.login(shared.relay, alice.user);
      await back.expectMessage("still here?");
    });
  }
});

describe("a session", () => {
  test("goes on after its socket vanished: each side sends again exactly what the other lacks", async () => {
    const [alice, bob] = await pair({ bob: { answers: false } });
    await bob.settle();
    const acked = bob.handled;
    for (const body of numbered(3, "before")) alice.message(bare(bob.user), body);
    await bob.expectMessage("before 3");
    bob.message(bare(alice.user), "from bob");
    await alice.expectMessage("from bob");
    await bob.vanish();
    for (const body of numbered(3, "between")) alice.message(bare(bob.user), body);
    await alice.ask();

    const back = await again(bob);
    const resumed = await back.resume(bob, acked + 1);
    assert.equal(resumed.name, "resumed", resumed.xml);
    assert.equal(resumed.attrs.previd, bob.smId);
    assert.equal(Number(resumed.attrs.h), bob.sent);
    await back.expectMessage("between 3");
    assert.deepEqual(back.bodies, ["before 2", "before 3", ...numbered(3, "between")]);
    await back.settle();
    back.message(bare(alice.user), "and on it goes");
    await alice.expectMessage("and on it goes");
  });

  test("goes on after the relay was killed", async () => {
    const [alice, bob] = await pair();
    for (const body of numbered(10)) alice.message(bare(bob.user), body);
    await bob.expectMessage("message 10");
    assert.equal(await alice.ask(), alice.sent);
    await bob.settle();
    await shared.relay.kill();
    await Promise.all([alice.closed, bob.closed]);
    await shared.relay.restart();

    const [alice2, bob2] = [await again(alice), await again(bob)];
    const resumed = await alice2.resume(alice);
    assert.equal(resumed.name, "resumed", resumed.xml);
    assert.equal(Number(resumed.attrs.h), alice.sent);
    assert.equal((await bob2.resume(bob)).name, "resumed");
    alice2.message(bare(bob.user), "after the crash");
    await bob2.expectMessage("after the crash");
    await bob2.settle();
    assert.deepEqual(bob2.bodies, ["after the crash"]);
  });

  test("is taken over by a second connection while the first still stands", async () => {
    const [alice, bob] = await pair();
    await bob.settle();
    const back = await again(bob);
    assert.equal((await back.resume(bob)).name, "resumed");
    const error = await bob.expect((frame) => frame.is("error", NS.streams), "conflict");
    assert.equal(error.condition, "conflict");
    await within(15_000, "the old socket to close", bob.closed);
    alice.message(bare(bob.user), "to the new one");
    await back.expectMessage("to the new one");
  });

  test("cannot be resumed after a goodbye", async () => {
    const [alice] = await pair();
    await alice.close();
    const failed = await (await again(alice)).resume(alice, 0);
    assert.equal(failed.name, "failed");
    assert.equal(failed.condition, "item-not-found");
  });

  test("of somebody else is not found, and is not harmed by the attempt", async () => {
    const [alice, bob] = await pair();
    await bob.vanish();
    const thief = await again(alice);
    const failed = await thief.resume({ ...bob, smId: bob.smId }, 0);
    assert.equal(failed.name, "failed");
    assert.equal(failed.condition, "item-not-found");
    await thief.bind("honest");
    await thief.enable();
    thief.message(bare(bob.user), "sorry");
    await thief.ask();
    const back = await again(bob);
    assert.equal((await back.resume(bob)).name, "resumed");
    await back.expectMessage("sorry");
  });

  test("that never was is not found, and binding goes on on the same stream", async () => {
    const [alice] = await pair();
    const wire = await again(alice);
    const failed = await wire.resume({ smId: "no-such-session" }, 0);
    assert.equal(failed.condition, "item-not-found", failed.xml);
    await wire.bind();
    await wire.enable();
    await wire.settle();
  });

  test("resumed with more than was sent is refused and not lost", async () => {
    const [alice, bob] = await pair({ bob: { answers: false } });
    alice.message(bare(bob.user), "kept");
    await bob.expectMessage("kept");
    await bob.vanish();
    const liar = await again(bob);
    liar.send(`<resume xmlns='${NS.sm}' h='1000000' previd='${bob.smId}'/>`);
    const error = await liar.expect((frame) => frame.is("error", NS.streams) || frame.is("failed", NS.sm));
    assert.match(error.xml, /handled-count-too-high|item-not-found|undefined-condition/);
    await liar.vanish();
    const back = await Wire.login(shared.relay, bob.user);
    await back.expectMessage("kept");
  });
});

describe("what the relay has acknowledged", () => {
  test("is on its disk: it was killed right after the ack and delivers all the same", async () => {
    const [alice, bob] = await pair();
    await bob.vanish();
    const bodies = numbered(20);
    for (const body of bodies) alice.message(bare(bob.user), body, { origin: true });
    assert.equal(await alice.ask(), alice.sent);
    await shared.relay.kill();
    await shared.relay.restart();
    const back = await again(bob);
    assert.equal((await back.resume(bob)).name, "resumed");
    await until("all twenty", () => back.bodies.length >= 20);
    await back.settle();
    assert.deepEqual(back.bodies, bodies);
  });

  test("and what it has not, together, is everything: a kill amid a burst loses and doubles nothing", async () => {
    const [alice, bob] = await pair();
    const bodies = numbered(60);
    const burst = (async () => {
      for (const body of bodies) {
        if (alice.isClosed) return;
        alice.message(bare(bob.user), body, { id: `burst-${body}`, origin: true });
        await sleep(2);
      }
    })();
    await sleep(60);
    await shared.relay.kill();
    await burst;
    await Promise.all([alice.closed, bob.closed]);
    await shared.relay.restart();

    const [alice2, bob2] = [await again(alice), await again(bob)];
    const firstSent = alice.sent;
    const resumed = await alice2.resume(alice);
    assert.equal(resumed.name, "resumed", resumed.xml);
    const had = Number(resumed.attrs.h);
    assert(had <= firstSent, `the relay claims ${had} of ${firstSent}`);
    // `sent` counts the presence too; the first message is stanza number two.
    for (const body of bodies.slice(Math.max(0, had - 1))) {
      alice2.message(bare(bob.user), body, { id: `burst-${body}`, origin: true });
    }
    assert.equal((await bob2.resume(bob)).name, "resumed");
    const all = () => [...bob.bodies, ...bob2.bodies];
    await until("all sixty", () => all().length >= 60, { detail: () => `${all().length} came` });
    await bob2.settle();
    assert.deepEqual(all(), bodies);
  });
});

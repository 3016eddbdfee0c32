// XEP-0198 §5: who may resume which session, from where, how often, and what becomes of the others.
import assert from "node:assert/strict";
import { after, afterEach, before, describe } from "node:test";
import { until, within } from "../harness/wait.mjs";
import { Wire, bare } from "../harness/wire.mjs";
import { NS } from "../harness/xml.mjs";
import { WIDTH, assertFailed, assertResumable, caughtUp, endsWith, isError, isSm, numbered, scenarios, sm } from "./stage.mjs";

const scenario = scenarios({ before, after, afterEach });
const resume = (previd, h) => sm("resume", `previd='${previd}' h='${h}'`);
const isVerdict = (frame) => ["resumed", "failed"].includes(frame.name) || isError(frame);

describe("a session", { concurrency: WIDTH }, () => {
  scenario("goes on after its socket vanished: each side sends again exactly what the other lacks", async (stage) => {
    const [alice, bob] = await stage.pair({ bob: { answers: false } });
    await bob.settle();
    const acked = bob.handled;
    for (const body of numbered(3, "before")) alice.message(bare(bob.user), body);
    await bob.expectMessage("before 3");
    bob.message(bare(alice.user), "from bob");
    await alice.expectMessage("from bob");
    await bob.vanish();
    for (const body of numbered(3, "between")) alice.message(bare(bob.user), body);
    await alice.ask();

    const back = await stage.again(bob);
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

  scenario("is taken over by a second connection while the first still stands", async (stage) => {
    const [alice, bob] = await stage.pair();
    await bob.settle();
    const back = await stage.again(bob);
    assert.equal((await back.resume(bob)).name, "resumed");
    const error = await bob.expect(isError, "conflict");
    assert.equal(error.condition, "conflict");
    await within(15_000, "the old socket to close", bob.closed);
    alice.message(bare(bob.user), "to the new one");
    await back.expectMessage("to the new one");
  });

  scenario("is resumed by <resumed/> with previd and h and nothing else, and no features follow", async (stage) => {
    const alice = await stage.person("alice");
    await alice.vanish();
    const back = await stage.again(alice);
    const { attrs, children } = await back.resume(alice);
    assert.deepEqual(Object.keys(attrs).sort(), ["h", "previd", "xmlns"]);
    assert.deepEqual(children, []);
    await back.settle();
    assert(!back.waiting.some((frame) => frame.is("features") || frame.is("open")), "the stream began again");
  });

  scenario("keeps its address", async (stage) => {
    const [alice, bob] = await stage.pair();
    await alice.vanish();
    const back = await stage.resumed(alice);
    back.message(bare(bob.user), "still me");
    assert.equal((await bob.expectMessage("still me")).attrs.from, alice.jid);
    bob.message(alice.jid, "still you");
    await back.expectMessage("still you");
  });

  scenario("is resumed through the lobby too", async (stage) => {
    const [alice, bob] = await stage.pair();
    await alice.vanish();
    const back = await stage.again(alice, { hint: false });
    assert.equal((await back.resume(alice)).name, "resumed");
    bob.message(bare(alice.user), "through the front door");
    await back.expectMessage("through the front door");
  });

  scenario("outlives another device's coming and going", async (stage) => {
    const [alice, bob] = await stage.pair({ bob: { resource: "phone" } });
    await bob.vanish();
    const laptop = await stage.login(bob.user, { resource: "laptop" });
    alice.message(bare(bob.user), "to both");
    await laptop.expectMessage("to both");
    await laptop.close();
    const back = await stage.resumed(bob);
    await back.expectMessage("to both");
  });

  scenario("is given up for the new one when its device binds again, and loses nothing to it", async (stage) => {
    const [alice, bob] = await stage.pair({ bob: { resource: "phone" } });
    await caughtUp(bob);
    for (const body of numbered(3)) alice.message(bare(bob.user), body);
    await bob.expectMessage("message 3");
    await bob.vanish();
    const back = await stage.login(bob.user, { resource: "phone" });
    await back.expectMessage("message 3");
    assert.deepEqual(back.bodies, numbered(3));
    const late = await stage.again(bob);
    assertFailed(await late.resume(bob, 0), "item-not-found");
    await back.settle();
  });

  scenario("that still has its connection gives way when its device binds again", async (stage) => {
    const [alice, bob] = await stage.pair({ bob: { resource: "phone" } });
    const back = await stage.login(bob.user, { resource: "phone" });
    await endsWith(bob, "conflict");
    alice.message(bare(bob.user), "to the new one");
    await back.expectMessage("to the new one");
  });

  scenario("is resumed ten times, and both counts go on and never begin again", async (stage) => {
    const [alice, bob] = await stage.pair();
    let wire = bob;
    await wire.settle();
    for (let round = 1; round <= 10; round += 1) {
      await wire.vanish();
      const next = await stage.resumed(wire);
      assert.equal(next.resumedAt, wire.sent, `in round ${round}`);
      assert.equal(next.smId, bob.smId);
      wire = next;
      alice.message(bare(bob.user), `round ${round}`);
      await wire.expectMessage(`round ${round}`);
      wire.message(bare(alice.user), `answer ${round}`);
      await wire.settle();
      assert.deepEqual(wire.bodies, [`round ${round}`], "something came again");
    }
    await alice.expectMessage("answer 10");
    assert.deepEqual(alice.bodies, numbered(10, "answer"));
  });

  scenario("asked for by three at once ends with one of them, and all that was written", async (stage) => {
    const [alice, bob] = await stage.pair();
    const had = await caughtUp(bob);
    for (const body of numbered(10)) alice.message(bare(bob.user), body);
    await bob.expectMessage("message 10");
    await bob.vanish();
    const rivals = await Promise.all([stage.again(bob), stage.again(bob), stage.again(bob)]);
    const answers = await Promise.all(rivals.map((rival) => rival.resume(bob, had)));
    assert(answers.every((answer) => answer.is("resumed", NS.sm)), answers.map(({ xml }) => xml).join());
    await until("the others to end", () => rivals.filter((rival) => !rival.isClosed).length === 1);
    for (const rival of rivals.filter((rival) => rival.isClosed)) await endsWith(rival, "conflict");
    const winner = rivals.find((rival) => !rival.isClosed);
    alice.message(bare(bob.user), "to the winner");
    await winner.expectMessage("to the winner");
    assert.deepEqual(winner.bodies, [...numbered(10), "to the winner"]);
  });
});

describe("a session is refused", { concurrency: WIDTH }, () => {
  scenario("after a goodbye", async (stage) => {
    const [alice] = await stage.pair();
    await alice.close();
    const failed = await (await stage.again(alice)).resume(alice, 0);
    assert.equal(failed.name, "failed");
    assert.equal(failed.condition, "item-not-found");
  });

  scenario("if it is somebody else's, and is not harmed by the attempt", async (stage) => {
    const [alice, bob] = await stage.pair();
    await bob.vanish();
    const thief = await stage.again(alice);
    const failed = await thief.resume({ ...bob, smId: bob.smId }, 0);
    assert.equal(failed.name, "failed");
    assert.equal(failed.condition, "item-not-found");
    await thief.bind("honest");
    await thief.enable();
    thief.message(bare(bob.user), "sorry");
    await thief.ask();
    const back = await stage.again(bob);
    assert.equal((await back.resume(bob)).name, "resumed");
    await back.expectMessage("sorry");
  });

  scenario("if it never was, and binding goes on on the same stream", async (stage) => {
    const [alice] = await stage.pair();
    const wire = await stage.again(alice);
    const failed = await wire.resume({ smId: "no-such-session" }, 0);
    assert.equal(failed.condition, "item-not-found", failed.xml);
    await wire.bind();
    await wire.enable();
    await wire.settle();
  });

  scenario("resumed with more than was sent, and is not lost", async (stage) => {
    const [alice, bob] = await stage.pair({ bob: { answers: false } });
    alice.message(bare(bob.user), "kept");
    await bob.expectMessage("kept");
    await bob.vanish();
    const liar = await stage.again(bob);
    liar.send(`<resume xmlns='${NS.sm}' h='1000000' previd='${bob.smId}'/>`);
    const error = await liar.expect((frame) => isError(frame) || isSm("failed")(frame));
    assert.match(error.xml, /handled-count-too-high|item-not-found|undefined-condition/);
    await liar.vanish();
    const back = await stage.login(bob.user);
    await back.expectMessage("kept");
  });

  scenario("with more than was sent by the letter of the specification, and can still be resumed", async (stage) => {
    const [alice, bob] = await stage.pair();
    const had = await caughtUp(bob);
    alice.message(bare(bob.user), "kept");
    await bob.expectMessage("kept");
    await bob.vanish();
    const liar = await stage.again(bob);
    liar.send(resume(bob.smId, had + 2));
    const error = await endsWith(liar, "undefined-condition");
    const detail = error.get("handled-count-too-high", NS.sm);
    assert.deepEqual([detail?.attrs.h, detail?.attrs["send-count"]], [`${had + 2}`, `${had + 1}`], error.xml);
    const back = await stage.resumed(bob, had);
    await back.expectMessage("kept");
  });

  scenario("with more than was sent while its connection stands, which then goes on undisturbed", async (stage) => {
    const [alice, bob] = await stage.pair();
    const liar = await stage.again(bob);
    liar.send(resume(bob.smId, 1_000_000));
    await endsWith(liar, "undefined-condition");
    alice.message(bare(bob.user), "undisturbed");
    await bob.expectMessage("undisturbed");
  });

  scenario("with less than was acked, and can still be resumed with the truth", async (stage) => {
    const [alice, bob] = await stage.pair();
    for (const body of numbered(3)) alice.message(bare(bob.user), body);
    await bob.expectMessage("message 3");
    await caughtUp(bob);
    await bob.vanish();
    const forgetful = await stage.again(bob);
    forgetful.send(resume(bob.smId, 0));
    assert.notEqual((await forgetful.expect(isVerdict)).name, "resumed");
    const back = await stage.resumed(bob);
    await back.settle();
    assert.deepEqual(back.bodies, []);
  });

  for (const h of ["h='-1'", "h='4294967296'", "h='x'", "h=''", ""]) {
    scenario(`with ${h || "no h"}, and is not harmed by it`, async (stage) => {
      const alice = await stage.person("alice");
      await alice.vanish();
      const wire = await stage.again(alice);
      wire.send(sm("resume", `previd='${alice.smId}' ${h}`));
      assert.notEqual((await wire.expect(isVerdict)).name, "resumed");
      await assertResumable(stage, alice);
    });
  }

  for (const previd of ["", "previd=''", "previd='&#9;'"]) {
    scenario(`with ${previd || "no previd"}`, async (stage) => {
      const alice = await stage.person("alice");
      // A device whose session has no id must not be what an empty id finds.
      const other = await stage.login(alice.user, { resource: "other", sm: false });
      other.send(sm("enable"));
      await other.expect(isSm("enabled"));
      const wire = await stage.again(alice);
      wire.send(sm("resume", `h='0' ${previd}`));
      assertFailed(await wire.expect(isVerdict), "item-not-found");
      await other.settle();
    });
  }

  scenario("in an older namespace, and can still be resumed in this one", async (stage) => {
    const alice = await stage.person("alice");
    await alice.vanish();
    const wire = await stage.again(alice);
    wire.send(`<resume xmlns='urn:xmpp:sm:2' h='0' previd='${alice.smId}'/>`);
    assert.notEqual((await wire.expect(isVerdict)).name, "resumed");
    await assertResumable(stage, alice);
  });

  scenario("before authentication, and is not harmed by it", async (stage) => {
    const alice = await stage.person("alice");
    await alice.vanish();
    for (const account of [alice.account, undefined]) {
      const wire = stage.keep(await Wire.connect(stage.relay.url(account)));
      await wire.open();
      wire.send(resume(alice.smId, 0));
      assert.notEqual((await wire.expect(isVerdict)).name, "resumed");
    }
    await assertResumable(stage, alice);
  });

  scenario("once a resource is bound, and the bound stream goes on", async (stage) => {
    const [alice, bob] = await stage.pair();
    await alice.vanish();
    const wire = await stage.login(alice.user, { resource: "another" });
    wire.send(resume(alice.smId, 0));
    assertFailed(await wire.expect(isVerdict), "unexpected-request");
    bob.message(bare(alice.user), "to the bound one");
    await wire.expectMessage("to the bound one");
    const back = await stage.resumed(alice);
    await back.expectMessage("to the bound one");
  });

  scenario("a second time on the same stream, and the resumed one goes on", async (stage) => {
    const [alice, bob] = await stage.pair();
    await alice.vanish();
    const back = await stage.resumed(alice);
    back.send(resume(alice.smId, alice.handled));
    assertFailed(await back.expect(isVerdict), "unexpected-request");
    bob.message(bare(alice.user), "undisturbed");
    await back.expectMessage("undisturbed");
    assert.equal(await back.ask(), back.sent);
  });
});

describe("the connection that was left", { concurrency: WIDTH }, () => {
  /** Alice's old link is stalled with this under way, her session goes on elsewhere, and then it arrives. */
  async function late(stage, say) {
    const bob = await stage.person("bob");
    const alice = await stage.behindProxy(await stage.account("alice"));
    await alice.settle();
    const { sent } = alice;
    alice.proxy.stall();
    say(alice, bob);
    const back = await stage.resumed(alice);
    assert.equal(back.resumedAt, sent, "what had not arrived was counted");
    Object.assign(back, { sent });
    alice.proxy.heal();
    await within(10_000, "the old socket to close", alice.closed);
    return [bob, back];
  }

  scenario("delivers nothing any more: what was under way on it is the client's to send again", async (stage) => {
    const [bob, back] = await late(stage, (alice, bob) => alice.message(bare(bob.user), "on the old one"));
    back.message(bare(bob.user), "on the new one");
    await bob.expectMessage("on the new one");
    assert.equal(await back.ask(), back.sent);
    assert.deepEqual(bob.bodies, ["on the new one"]);
  });

  scenario("cannot end the session by a late goodbye", async (stage) => {
    const [bob, back] = await late(stage, (alice) => alice.send(`<close xmlns='${NS.framing}'/>`));
    bob.message(bare(back.user), "still there");
    await back.expectMessage("still there");
    await back.vanish();
    await stage.resumed(back);
  });

  scenario("cannot disturb the counts by a late ack, not even by an absurd one", async (stage) => {
    const [bob, back] = await late(stage, (alice) => alice.ack(1_000_000));
    bob.message(bare(back.user), "still there");
    await back.expectMessage("still there");
    assert.equal(await back.ask(), back.sent);
  });

  scenario("gets the conflict and nothing of what comes after it", async (stage) => {
    const [alice, bob] = await stage.pair();
    await bob.settle();
    const back = await stage.resumed(bob);
    for (const body of numbered(5)) alice.message(bare(bob.user), body);
    await back.expectMessage("message 5");
    await endsWith(bob, "conflict");
    assert.deepEqual(bob.bodies, []);
    assert.deepEqual(back.bodies, numbered(5));
  });
});

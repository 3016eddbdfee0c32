// Sessions that outlive the relay's memory, or their own ten minutes, or 2³² stanzas.
//
// Each of these kills the relay, so they take turns.
import assert from "node:assert/strict";
import { after, afterEach, before, describe } from "node:test";
import { sleep, until } from "../harness/wait.mjs";
import { bare, someone } from "../harness/wire.mjs";
import { NS } from "../harness/xml.mjs";
import { editStream, expire } from "./rows.mjs";
import { assertFailed, caughtUp, numbered, scenarios } from "./stage.mjs";

const scenario = scenarios({ before, after, afterEach });

describe("a session", () => {
  scenario("goes on after the relay was killed", async (stage) => {
    const [alice, bob] = await stage.pair();
    for (const body of numbered(10)) alice.message(bare(bob.user), body);
    await bob.expectMessage("message 10");
    assert.equal(await alice.ask(), alice.sent);
    await bob.settle();
    await stage.relay.kill();
    await Promise.all([alice.closed, bob.closed]);
    await stage.relay.restart();

    const [alice2, bob2] = [await stage.again(alice), await stage.again(bob)];
    const resumed = await alice2.resume(alice);
    assert.equal(resumed.name, "resumed", resumed.xml);
    assert.equal(Number(resumed.attrs.h), alice.sent);
    assert.equal((await bob2.resume(bob)).name, "resumed");
    alice2.message(bare(bob.user), "after the crash");
    await bob2.expectMessage("after the crash");
    await bob2.settle();
    assert.deepEqual(bob2.bodies, ["after the crash"]);
  });

  scenario("goes on after five crashes in a row, with traffic between them", async (stage) => {
    const [alice, bob] = await stage.pair();
    let [writer, reader, bodies] = [alice, bob, []];
    await Promise.all([writer.settle(), reader.settle()]);
    for (let round = 1; round <= 5; round += 1) {
      for (const body of numbered(7, `round ${round},`)) writer.message(bare(bob.user), body);
      await reader.expectMessage(`round ${round}, 7`);
      assert.equal(await writer.ask(), writer.sent);
      await stage.crash([writer, reader]);
      bodies.push(...reader.bodies);
      [writer, reader] = [await stage.resumed(writer), await stage.resumed(reader)];
      assert.equal(writer.resumedAt, writer.sent);
    }
    await reader.settle();
    assert.deepEqual(reader.bodies, [], "what was counted came again");
    assert.deepEqual(bodies, [1, 2, 3, 4, 5].flatMap((round) => numbered(7, `round ${round},`)));
  });

  scenario("keeps its carbons, its presence and its lost answers over a crash", async (stage) => {
    const [alice, bob] = await stage.pair();
    const desk = await stage.login(alice.user, { resource: "desk" });
    await desk.iq("set", `<enable xmlns='${NS.carbons}'/>`);
    const had = await caughtUp(desk);
    desk.send(`<iq xmlns='jabber:client' type='get' id='lost'><ping xmlns='${NS.ping}'/></iq>`);
    await desk.expect((frame) => frame.attrs.id === "lost");
    await stage.crash([alice, bob, desk]);
    const back = await stage.resumed(desk, had);
    await back.expect((frame) => frame.is("iq") && frame.attrs.id === "lost", "the answer");
    const [alice2, bob2] = [await stage.resumed(alice), await stage.resumed(bob)];
    alice2.message(bare(bob.user), "carbon");
    await bob2.expectMessage("carbon");
    await back.expect((frame) => frame.get("sent", NS.carbons), "the carbon");
  });

  scenario("that said goodbye does not rise again", async (stage) => {
    const alice = await stage.person("alice");
    await alice.close();
    await stage.crash([alice]);
    assertFailed(await (await stage.again(alice)).resume(alice, 0), "item-not-found");
  });

  scenario("whose link the crash broke and that was killed again while resuming is resumed in the end", async (stage) => {
    const [alice, bob] = await stage.pair();
    const had = await caughtUp(bob);
    for (const body of numbered(5)) alice.message(bare(bob.user), body);
    await bob.expectMessage("message 5");
    assert.equal(await alice.ask(), alice.sent);
    await stage.crash([alice, bob]);
    const second = await stage.again(bob);
    second.send(`<resume xmlns='${NS.sm}' h='${had}' previd='${bob.smId}'/>`);
    await stage.crash([second]);
    const third = await stage.resumed(bob, had);
    await third.expectMessage("message 5");
    await third.settle();
    assert.deepEqual(third.bodies, numbered(5));
  });
});

describe("what the relay has acknowledged", () => {
  scenario("is on its disk: it was killed right after the ack and delivers all the same", async (stage) => {
    const [alice, bob] = await stage.pair();
    await bob.vanish();
    const bodies = numbered(20);
    for (const body of bodies) alice.message(bare(bob.user), body, { origin: true });
    assert.equal(await alice.ask(), alice.sent);
    await stage.relay.kill();
    await stage.relay.restart();
    const back = await stage.again(bob);
    assert.equal((await back.resume(bob)).name, "resumed");
    await until("all twenty", () => back.bodies.length >= 20);
    await back.settle();
    assert.deepEqual(back.bodies, bodies);
  });

  scenario("and what it has not, together, is everything: a kill amid a burst loses and doubles nothing", async (stage) => {
    const [alice, bob] = await stage.pair();
    const bodies = numbered(60);
    const burst = (async () => {
      for (const body of bodies) {
        if (alice.isClosed) return;
        alice.message(bare(bob.user), body, { id: `burst-${body}`, origin: true });
        await sleep(2);
      }
    })();
    await sleep(60);
    await stage.relay.kill();
    await burst;
    await Promise.all([alice.closed, bob.closed]);
    await stage.relay.restart();

    const [alice2, bob2] = [await stage.again(alice), await stage.again(bob)];
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

describe("a session that is over since its ten minutes have passed", () => {
  /** Bob's phone had `had` and was sent five more; then its session expired. */
  async function expired(stage) {
    const [alice, bob] = await stage.pair({ bob: { resource: someone("phone") } });
    const had = await caughtUp(bob);
    const sent = await bob.ask();
    for (const body of numbered(5)) alice.message(bare(bob.user), body);
    await bob.expectMessage("message 5");
    assert.equal(await alice.ask(), alice.sent);
    await bob.vanish();
    // The relay notices that the link is gone, and writes it down.
    await sleep(200);
    await stage.crash([], () => editStream(stage.relay, bob, expire));
    return { alice, bob, had, sent };
  }

  scenario("is not found, and <failed/> says how much of it the relay has", async (stage) => {
    const { bob, had, sent } = await expired(stage);
    for (let i = 0; i < 2; i += 1) {
      const failed = await (await stage.again(bob)).resume(bob, had);
      assertFailed(failed, "item-not-found");
      assert.equal(failed.attrs.h, String(sent), failed.xml);
    }
  });

  scenario("says so to its own account only", async (stage) => {
    const { bob, had } = await expired(stage);
    const thief = await stage.again(await stage.person("thief"));
    const failed = await thief.resume(bob, had);
    assertFailed(failed, "item-not-found");
    assert.equal(failed.attrs.h, undefined, failed.xml);
  });

  scenario("leaves what it had not acked to the next one, once, with the time of then, and no error", async (stage) => {
    const { alice, bob, had } = await expired(stage);
    const wire = await stage.again(bob);
    assertFailed(await wire.resume(bob, had), "item-not-found");
    await wire.bind(bob.jid.split("/")[1]);
    await wire.enable();
    wire.send("<presence xmlns='jabber:client'/>");
    const last = await wire.expectMessage("message 5");
    assert(last.get("delay", NS.delay), last.xml);
    await wire.settle();
    assert.deepEqual(wire.bodies, numbered(5));
    const writer = await stage.resumed(alice);
    await writer.settle();
    assert(!writer.waiting.some((frame) => frame.attrs.type === "error"), "the sender was told of a failure");
  });
});

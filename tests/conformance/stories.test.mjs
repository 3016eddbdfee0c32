// What other servers and clients were reported to do wrong, as far as it is the relay's to do right.
//
// The numbers are those of the project's list of failure stories; README.md says which are not here.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, afterEach, before, describe } from "node:test";
import { everything, page, pages } from "../harness/archive.mjs";
import { Random } from "../harness/random.mjs";
import { Relay } from "../harness/relay.mjs";
import { sleep, until, within } from "../harness/wait.mjs";
import { bare, someone } from "../harness/wire.mjs";
import { Frame, NS } from "../harness/xml.mjs";
import { countedTo, editStream, expire } from "./rows.mjs";
import { AVAILABLE, WIDTH, caughtUp, endsWith, isError, isSm, numbered, scenarios, sm } from "./stage.mjs";

const scenario = scenarios({ before, after, afterEach });
const isFailure = (frame) => frame.is("message") && frame.attrs.type === "error";
const bodiesOf = (results) => results.map(({ body }) => body);

/** Nobody was ever told that a message did not arrive. */
async function assertNoFailure(...senders) {
  for (const sender of senders) {
    await sender.settle();
    assert(!sender.waiting.some(isFailure), "the sender was told of a failure");
  }
}

/** A relay that this story alone may kill. */
async function withOwnRelay(stage, act) {
  const [relay, others] = [await Relay.start(), stage.relay];
  stage.relay = relay;
  try {
    await act();
    relay.assertAlive();
  } finally {
    stage.relay = others;
    await relay.stop();
  }
}

/** Three devices: one on a link that goes silent in both directions with twenty messages under way. */
async function halfOpen(stage) {
  const user = await stage.account("bob");
  const phone = await stage.behindProxy(user, { resource: "phone" });
  const tablet = await stage.login(user, { resource: "tablet" });
  const alice = await stage.person("alice");
  await Promise.all([phone.settle(), tablet.settle()]);
  phone.proxy.halfOpen();
  for (const body of numbered(20)) alice.message(bare(user), body);
  const since = Date.now();
  await tablet.expectMessage("message 20");
  return { alice, phone, tablet, since };
}

describe("the story", { concurrency: WIDTH }, () => {
  scenario("T1 a half-open socket swallows nothing", async (stage) => {
    const { alice, phone, tablet } = await halfOpen(stage);
    assert.equal(await alice.ask(), alice.sent);
    // Longer than the relay waits for an ack.
    await sleep(12_000);
    alice.message(bare(phone.user), "after the kick");
    await tablet.expectMessage("after the kick");
    const back = await stage.resumed(phone);
    await back.expectMessage("after the kick");
    await back.settle();
    assert.deepEqual([...phone.bodies, ...back.bodies], [...numbered(20), "after the kick"]);
    assert.deepEqual(tablet.bodies, [...numbered(20), "after the kick"]);
    await assertNoFailure(alice);
  });

  scenario("T2 a device that never asks the archive gets all that it had not acked, also on a new session", async (stage) => {
    const { alice, phone } = await halfOpen(stage);
    await alice.ask();
    phone.proxy.cut();
    const back = await stage.login(phone.user, { resource: "phone" });
    await back.expectMessage("message 20");
    await back.settle();
    assert.deepEqual(back.bodies, numbered(20));
    await assertNoFailure(alice);
  });

  scenario("T3 fifty sessions that expire with ten unacked messages leave ten messages in the archive", async (stage) => {
    await withOwnRelay(stage, async () => {
      let [alice, bob] = await stage.pair({ bob: { resource: someone("phone"), answers: false } });
      const resource = bob.jid.split("/")[1];
      for (const body of numbered(10)) alice.message(bare(bob.user), body);
      await bob.expectMessage("message 10");
      assert.equal(await alice.ask(), alice.sent);
      const reader = await stage.login(bob.user, { resource: "reader", presence: false });
      const first = await everything(reader, 50);
      assert.deepEqual(bodiesOf(first), numbered(10));
      for (let round = 1; round <= 50; round += 1) {
        await bob.vanish();
        await stage.crash([], () => editStream(stage.relay, bob, expire));
        const next = await stage.again(bob);
        next.answers = false;
        assert.equal((await next.resume(bob)).name, "failed");
        await next.bind(resource);
        await next.enable();
        next.send(AVAILABLE);
        await next.expectMessage("message 10");
        assert.deepEqual(next.bodies, numbered(10), `in round ${round}`);
        bob = next;
      }
      const again = await stage.login(bob.user, { resource: "another reader", presence: false });
      assert.deepEqual(await everything(again, 50), first);
      alice = await stage.resumed(alice);
      await assertNoFailure(alice);
    });
  }, { timeout: 240_000 });

  scenario("T5 five resumptions in a row replay nothing that was counted, and h never goes back", async (stage) => {
    const [alice, bob] = await stage.pair();
    await bob.settle();
    let [wire, told, bodies] = [bob, 0, []];
    for (let round = 1; round <= 5; round += 1) {
      for (const body of numbered(4, `round ${round},`)) alice.message(bare(bob.user), body);
      await wire.expectMessage(`round ${round}, 4`);
      wire.message(bare(alice.user), `answer ${round}`);
      assert.equal(await wire.ask(), wire.sent);
      await wire.vanish();
      bodies.push(...wire.bodies);
      const next = await stage.resumed(wire);
      assert(next.resumedAt > told && next.resumedAt === wire.sent, `${next.resumedAt} after ${told}`);
      [wire, told] = [next, next.resumedAt];
    }
    await wire.settle();
    assert.deepEqual(wire.bodies, []);
    assert.deepEqual(bodies, [1, 2, 3, 4, 5].flatMap((round) => numbered(4, `round ${round},`)));
  });

  scenario("T6 the count passes 2³² in both directions, and a resumption across it loses and repeats nothing", async (stage) => {
    await withOwnRelay(stage, async () => {
      const start = 2 ** 32 - 3;
      const wrapped = (h) => h % 2 ** 32;
      let [alice, bob] = await stage.pair();
      await Promise.all([caughtUp(alice), caughtUp(bob)]);
      await stage.crash([alice, bob], () => {
        for (const wire of [alice, bob]) editStream(stage.relay, wire, countedTo(start));
      });
      [alice, bob] = [await stage.resumed(alice, start), await stage.resumed(bob, start)];
      assert.deepEqual([alice.resumedAt, bob.resumedAt], [start, start]);
      for (const wire of [alice, bob]) Object.assign(wire, { answers: false, sent: start });
      for (const body of numbered(10)) alice.message(bare(bob.user), body);
      await bob.expectMessage("message 10");
      assert.equal(await alice.ask(), wrapped(alice.sent));
      // Five of the ten, of which the third was number 0.
      bob.ack(wrapped(start + 5));
      bob.send(sm("r"));
      await bob.expect(isSm("a"));
      await bob.vanish();
      const back = await stage.again(bob);
      back.answers = false;
      assert.equal((await back.resume(bob, wrapped(start + 5))).name, "resumed");
      await back.expectMessage("message 10");
      assert.deepEqual(back.bodies, numbered(10).slice(5));
      await alice.vanish();
      const alice2 = await stage.resumed(alice, wrapped(alice.handled));
      assert.equal(alice2.resumedAt, wrapped(alice.sent));
      alice2.message(bare(bob.user), "beyond");
      await back.expectMessage("beyond");
    });
  });

  scenario("T6 an h that is too high costs a stream and not the session, and coming back is one step", async (stage) => {
    const [alice, bob] = await stage.pair();
    const had = await caughtUp(bob);
    alice.message(bare(bob.user), "before");
    await bob.expectMessage("before");
    bob.ack(had + 2);
    const error = await endsWith(bob, "undefined-condition");
    assert.equal(error.get("handled-count-too-high", NS.sm)?.attrs["send-count"], String(had + 1), error.xml);
    const fresh = await stage.login(bob.user, { resource: bob.jid.split("/")[1] });
    alice.message(bare(bob.user), "after");
    await fresh.expectMessage("after");
    await fresh.settle();
    assert.deepEqual(fresh.bodies, ["before", "after"]);
    assert(!fresh.waiting.some(isError) && !fresh.isClosed);
  });

  scenario("T7 nothing is acked before it is stored: killed at an ack, the relay has all that it acked", async (stage) => {
    await withOwnRelay(stage, async () => {
      const random = Random.announced("T7");
      let [alice, bob] = await stage.pair();
      let [written, bodies] = [0, []];
      for (let round = 1; round <= 5; round += 1) {
        const target = random.between(1, 12);
        let told = 0;
        const killed = new Promise((resolve) => {
          let acks = 0;
          alice.onFrame = (frame) => {
            if (!isSm("a")(frame)) return false;
            told = Number(frame.attrs.h);
            if ((acks += 1) === target) resolve(stage.relay.kill());
            return true;
          };
        });
        const first = alice.sent;
        const texts = [];
        while (!alice.isClosed && texts.length < 400) {
          texts.push(`message ${(written += 1)}`);
          alice.message(bare(bob.user), texts.at(-1));
          alice.send(sm("r"));
          await sleep(3);
        }
        await within(10_000, "the relay to be killed", killed);
        await within(10_000, "the sockets to close", Promise.all([alice.closed, bob.closed]));
        await stage.relay.restart();
        bodies.push(...bob.bodies);
        const alice2 = await stage.resumed(alice);
        assert(alice2.resumedAt >= told, `it acked ${told} and has ${alice2.resumedAt}`);
        assert(alice2.resumedAt <= alice.sent, `it has ${alice2.resumedAt} of ${alice.sent}`);
        alice2.sent = alice2.resumedAt;
        for (const text of texts.slice(alice2.resumedAt - first)) alice2.message(bare(bob.user), text);
        [alice, bob] = [alice2, await stage.resumed(bob)];
      }
      await until("all of it", () => bodies.length + bob.bodies.length >= written);
      await bob.settle();
      assert.deepEqual([...bodies, ...bob.bodies], numbered(written));
    });
  });

  scenario("T8 receipts for what was fetched in pages reach a sender who was away, each once", async (stage) => {
    const [alice, user] = [await stage.person("alice", { resource: "phone" }), await stage.account("bob")];
    await (await stage.login(user, { resource: "phone" })).close();
    const request = `<request xmlns='${NS.receipts}'/>`;
    const ids = numbered(25).map((body) => alice.message(bare(user), body, { origin: true, extra: request }));
    assert.equal(await alice.ask(), alice.sent);
    await alice.close();
    const bob = await stage.login(user, { resource: "phone", presence: false });
    await bob.iq("get", `<summary xmlns='${NS.offline}' hold='true'/>`);
    bob.send(AVAILABLE);
    const fetched = [];
    for await (const { results } of pages(bob, { max: 10 })) {
      // The receipts themselves are in the archive too.
      for (const { xml } of results.filter(({ body }) => body !== undefined)) {
        const { id } = Frame.parse(xml).get("origin-id", NS.sid).attrs;
        bob.message(bare(alice.user), null, { extra: `<received xmlns='${NS.receipts}' id='${id}'/>` });
        fetched.push(id);
      }
    }
    assert.deepEqual(fetched, ids);
    assert.equal(await bob.ask(), bob.sent);
    const back = await stage.login(alice.user, { resource: "phone" });
    const receipts = () => back.waiting.flatMap((frame) => frame.get("received", NS.receipts)?.attrs.id ?? []);
    await until("the receipts", () => receipts().length >= 25);
    await back.settle();
    assert.deepEqual(receipts(), ids);
  });

  scenario("T9 a device that dies does not make a message fail that another one has", async (stage) => {
    const [alice, phone] = await stage.pair({ bob: { resource: "phone" } });
    const tablet = await stage.login(phone.user, { resource: "tablet" });
    await caughtUp(phone);
    const id = alice.message(bare(phone.user), "to both", { origin: true, extra: `<request xmlns='${NS.receipts}'/>` });
    await phone.expectMessage("to both");
    await tablet.expectMessage("to both");
    tablet.message(bare(alice.user), null, { extra: `<received xmlns='${NS.receipts}' id='${id}'/>` });
    await alice.expect((frame) => frame.get("received", NS.receipts)?.attrs.id === id, "the receipt");
    // It is given up by its own silence, not by a socket that ends.
    await endsWith(phone, "connection-timeout", 20_000);
    await sleep(500);
    await assertNoFailure(alice, tablet);
  });

  scenario("T10 one origin-id is one message, after a lost ack, a lost session and from a backup", async (stage) => {
    const bob = await stage.person("bob");
    const alice = await stage.behindProxy(await stage.account("alice"), { resource: "phone" });
    await alice.settle();
    const origin = randomUUID();
    const extra = `<accept xmlns='${NS.accepted}'/>`;
    const send = (wire) => wire.message(bare(bob.user), "once", { id: origin, origin, extra });
    const acceptedIn = (frame) => frame.get("accepted", NS.accepted)?.attrs;
    const idOf = async (wire) => {
      const told = await wire.expect((frame) => acceptedIn(frame)?.["origin-id"] === origin, "<accepted/>");
      return acceptedIn(told)["stanza-id"];
    };
    alice.proxy.halfOpen("down");
    send(alice);
    await bob.expectMessage("once");
    const second = await stage.resumed(alice);
    const first = await idOf(second);
    send(second);
    assert.equal(await idOf(second), first, "after the lost ack");
    await second.close();
    const third = await stage.login(alice.user, { resource: "phone" });
    send(third);
    assert.equal(await idOf(third), first, "after the lost session");
    const restored = await stage.login(alice.user, { resource: "another phone" });
    send(restored);
    assert.equal(await idOf(restored), first, "from a backup");
    restored.message(bare(bob.user), "last");
    await bob.expectMessage("last");
    assert.deepEqual(bob.bodies, ["once", "last"]);
    assert.deepEqual(bodiesOf(await everything(bob, 50)), ["once", "last"]);
    assert.deepEqual(bodiesOf(await everything(restored, 50)), ["once", "last"]);
  });

  for (const cut of [false, true]) {
    const how = cut ? "also when the link breaks between two of them" : "and in the timeline behind them";
    scenario(`T13 thirty-five messages come in pages while others are written, without a gap, ${how}`, async (stage) => {
      const [alice, user] = [await stage.person("alice"), await stage.account("bob")];
      await (await stage.login(user, { resource: "phone" })).close();
      for (const body of numbered(35)) alice.message(bare(user), body);
      assert.equal(await alice.ask(), alice.sent);
      let bob = await stage.login(user, { resource: "phone", presence: false });
      const told = (await bob.iq("get", `<summary xmlns='${NS.offline}' hold='true'/>`)).get("summary", NS.offline).attrs;
      assert.equal(told.count, "35");
      bob.send(AVAILABLE);
      // Live traffic begins before the first page is asked for.
      for (const body of numbered(5, "live")) alice.message(bare(user), body);
      assert.equal(await alice.ask(), alice.sent);
      const [sizes, seen] = [[], []];
      for await (const { results, last, complete } of pagesOf(() => bob)) {
        sizes.push(results.length);
        seen.push(...results);
        assert.equal(complete, seen.length >= 40, `after ${last}`);
        if (!cut || sizes.length !== 2) continue;
        await bob.vanish();
        bob = await stage.resumed(bob);
      }
      assert.deepEqual(sizes, [10, 10, 10, 10]);
      assert.deepEqual(bodiesOf(seen), [...numbered(35), ...numbered(5, "live")]);
      assert.deepEqual(bob.bodies, [], "something came by itself meanwhile");
      await bob.iq("set", `<received xmlns='${NS.offline}' upto='${seen.at(-1).id}'/>`);
      alice.message(bare(user), "afterwards");
      await bob.expectMessage("afterwards");
      assert.deepEqual(bob.bodies, ["afterwards"]);
    });
  }

  scenario("T15 a conflict names the winner once: the loser is told, and the winner is left in peace", async (stage) => {
    const first = await stage.person("bob", { resource: "phone" });
    const second = await stage.login(first.user, { resource: "phone" });
    await endsWith(first, "conflict");
    const alice = await stage.person("alice");
    alice.message(bare(first.user), "to the second");
    await second.expectMessage("to the second");
    // What a client does that takes the conflict for a broken link: its session is over, and says so.
    const stubborn = await stage.again(first);
    assert.equal((await stubborn.resume(first)).name, "failed");
    await sleep(500);
    await second.settle();
    assert(!second.isClosed && !second.waiting.some(isError));
  });

  scenario("T15 a tab that resumes what another has resumed ends that one with one conflict, and no more", async (stage) => {
    const [alice, first] = await stage.pair();
    await first.settle();
    const second = await stage.resumed(first);
    await endsWith(first, "conflict");
    const third = await stage.resumed(second);
    await endsWith(second, "conflict");
    alice.message(bare(first.user), "to the third");
    await third.expectMessage("to the third");
    assert(!third.waiting.some(isError) && !third.isClosed);
  });
});

/** Pages of ten over whichever connection there is. */
async function* pagesOf(wire) {
  for (let after; ; ) {
    const one = await page(wire(), { max: 10, after });
    yield one;
    if (one.complete) return;
    after = one.last;
  }
}

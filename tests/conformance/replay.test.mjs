// XEP-0198 §5: what travels over a resumption, in which order, and what the relay remembers.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, afterEach, before, describe } from "node:test";
import { finOf, query, resultsOf } from "../harness/archive.mjs";
import { sleep, until } from "../harness/wait.mjs";
import { bare, someone } from "../harness/wire.mjs";
import { NS } from "../harness/xml.mjs";
import { WIDTH, caughtUp, numbered, scenarios, sm } from "./stage.mjs";

const scenario = scenarios({ before, after, afterEach });
const isAnswer = (id) => (frame) => frame.is("iq") && frame.attrs.id === id;
const ping = (id) => `<iq xmlns='jabber:client' type='get' id='${id}'><ping xmlns='${NS.ping}'/></iq>`;
const carbonOf = (frame, kind) => frame.get(kind, NS.carbons)?.get("forwarded", NS.forward)?.get("message", NS.client)?.body;

describe("what comes while a session is being resumed", { concurrency: WIDTH }, () => {
  scenario("comes after what was lost, in order and without a gap", async (stage) => {
    const [alice, bob] = await stage.pair();
    const had = await caughtUp(bob);
    for (const body of numbered(20)) alice.message(bare(bob.user), body);
    await bob.expectMessage("message 20");
    await bob.vanish();
    let isBack = false;
    const writing = (async () => {
      let count = 20;
      while ((!isBack || count < 60) && count < 300) {
        alice.message(bare(bob.user), `message ${(count += 1)}`);
        await sleep(20);
      }
      return count;
    })();
    await sleep(50);
    const back = await stage.resumed(bob, had);
    isBack = true;
    const count = await writing;
    await back.expectMessage(`message ${count}`);
    assert.deepEqual(back.bodies, numbered(count));
  });

  scenario("keeps its order when the session is resumed again and again in the middle of it", async (stage) => {
    const [alice, bob] = await stage.pair();
    await bob.settle();
    let [wire, bodies] = [bob, []];
    const writing = (async () => {
      for (const body of numbered(60)) {
        alice.message(bare(bob.user), body);
        await sleep(20);
      }
    })();
    for (let round = 0; round < 5; round += 1) {
      await sleep(100);
      await wire.vanish();
      bodies.push(...wire.bodies);
      wire = await stage.resumed(wire);
    }
    await writing;
    assert.equal(await alice.ask(), alice.sent);
    const all = () => [...bodies, ...wire.bodies];
    await until("all sixty", () => all().length >= 60, { detail: () => all().join() });
    await wire.settle();
    assert.deepEqual(all(), numbered(60));
  });

  scenario("may be more than the window holds, and is continued where it stopped", async (stage) => {
    const [alice, user] = [await stage.person("alice"), await stage.account("bob")];
    await (await stage.login(user, { resource: "phone" })).close();
    for (const body of numbered(250)) alice.message(bare(user), body);
    assert.equal(await alice.ask(), alice.sent);
    const bob = await stage.login(user, { resource: "phone", answers: false });
    await bob.expectMessage("message 80");
    const [h, had] = [bob.handled, bob.bodies.length];
    await bob.vanish();
    const back = await stage.resumed(bob, h);
    await back.expectMessage("message 250", 15_000);
    assert.deepEqual(back.bodies, numbered(250).slice(had));
  });

  scenario("is not lost on a link that hears nothing any more", async (stage) => {
    const alice = await stage.person("alice");
    const bob = await stage.behindProxy(await stage.account("bob"));
    await bob.settle();
    bob.proxy.halfOpen("down");
    for (const body of numbered(8)) alice.message(bare(bob.user), body);
    assert.equal(await alice.ask(), alice.sent);
    const back = await stage.resumed(bob);
    await back.expectMessage("message 8");
    assert.deepEqual([...bob.bodies, ...back.bodies], numbered(8));
  });
});

describe("what the relay has of the device", { concurrency: WIDTH }, () => {
  scenario("is told to the stanza, however the link was cut", async (stage) => {
    const bob = await stage.person("bob");
    const alice = await stage.behindProxy(await stage.account("alice"));
    await alice.settle();
    for (const body of numbered(10)) alice.message(bare(bob.user), body);
    await bob.expectMessage("message 10");
    alice.proxy.halfOpen("up");
    for (const body of numbered(5, "lost")) alice.message(bare(bob.user), body);
    const back = await stage.resumed(alice);
    assert.equal(back.resumedAt, alice.sent - 5);
    back.sent = back.resumedAt;
    for (const body of numbered(5, "lost")) back.message(bare(bob.user), body);
    await bob.expectMessage("lost 5");
    assert.equal(await back.ask(), back.sent);
    assert.deepEqual(bob.bodies, [...numbered(10), ...numbered(5, "lost")]);
  });

  scenario("is more than it knows, if the acks were lost on the way", async (stage) => {
    const bob = await stage.person("bob");
    const alice = await stage.behindProxy(await stage.account("alice"));
    await alice.settle();
    alice.proxy.halfOpen("down");
    for (const body of numbered(5)) alice.message(bare(bob.user), body);
    await bob.expectMessage("message 5");
    const back = await stage.resumed(alice);
    assert.equal(back.resumedAt, alice.sent);
    assert.equal(await back.ask(), back.sent);
    assert.deepEqual(bob.bodies, numbered(5));
  });

  scenario("includes what was refused: the error comes, and it need not be sent again", async (stage) => {
    const alice = await stage.person("alice");
    const had = await caughtUp(alice);
    const sent = await alice.ask();
    const id = alice.message(bare(someone("nobody")), "to nobody");
    await alice.expect((frame) => frame.attrs.id === id && frame.attrs.type === "error", "the error");
    await alice.vanish();
    const back = await stage.resumed(alice, had + 1);
    assert.equal(back.resumedAt, sent + 1);
    await back.expect((frame) => frame.attrs.id === id && frame.attrs.type === "error", "the error again");
  });
});

describe("over a resumption", { concurrency: WIDTH }, () => {
  scenario("carbons stay on, for what is sent and what is received", async (stage) => {
    const [alice, bob] = await stage.pair();
    const desk = await stage.login(alice.user, { resource: "desk" });
    assert.equal((await desk.iq("set", `<enable xmlns='${NS.carbons}'/>`)).attrs.type, "result");
    await desk.vanish();
    alice.message(bare(bob.user), "while it was away");
    await bob.expectMessage("while it was away");
    const back = await stage.resumed(desk);
    await back.expect((frame) => carbonOf(frame, "sent") === "while it was away", "the carbon that waited");
    alice.message(bare(bob.user), "since it is back");
    await back.expect((frame) => carbonOf(frame, "sent") === "since it is back", "a carbon of what is sent");
    bob.message(alice.jid, "to the other device");
    await back.expect((frame) => carbonOf(frame, "received") === "to the other device", "a carbon of what is received");
  });

  scenario("carbons stay off where nobody asked for them", async (stage) => {
    const [alice, bob] = await stage.pair();
    const desk = await stage.login(alice.user, { resource: "desk" });
    await desk.settle();
    await desk.vanish();
    const back = await stage.resumed(desk);
    alice.message(bare(bob.user), "quietly");
    await bob.expectMessage("quietly");
    await back.settle();
    assert(!back.waiting.some((frame) => frame.get("sent", NS.carbons)));
  });

  scenario("presence stays as it was: messages go on without a new one", async (stage) => {
    const [alice, bob] = await stage.pair();
    await bob.settle();
    await bob.vanish();
    const back = await stage.resumed(bob);
    alice.message(bare(bob.user), "live");
    await back.expectMessage("live");
    const tablet = await stage.login(bob.user, { resource: "tablet" });
    await tablet.expect((frame) => frame.is("presence") && frame.attrs.from === bob.jid, "presence of the resumed one");
  });

  scenario("a device that was invisible stays so", async (stage) => {
    const [alice, bob] = await stage.pair({ bob: { resource: "phone", presence: false } });
    await bob.settle();
    await bob.vanish();
    const back = await stage.resumed(bob);
    alice.message(bare(bob.user), "waits");
    await alice.ask();
    await back.settle();
    assert.deepEqual(back.bodies, []);
    back.send("<presence xmlns='jabber:client'/>");
    await back.expectMessage("waits");
  });

  scenario("the session's silence is no farewell: nobody is told that it left", async (stage) => {
    const phone = await stage.person("bob", { resource: "phone" });
    const tablet = await stage.login(phone.user, { resource: "tablet" });
    await phone.expect((frame) => frame.is("presence") && frame.attrs.from === tablet.jid);
    await tablet.vanish();
    await sleep(500);
    await phone.settle();
    assert(!phone.waiting.some((frame) => frame.is("presence") && frame.attrs.type === "unavailable"));
  });

  scenario("an answer that was lost comes again, once", async (stage) => {
    const bob = await stage.person("bob");
    const had = await caughtUp(bob);
    for (const id of ["p1", "p2", "p3"]) bob.send(ping(id));
    await bob.expect(isAnswer("p3"));
    await bob.vanish();
    const back = await stage.resumed(bob, had + 1);
    await back.settle();
    const answers = back.waiting.filter((frame) => frame.is("iq")).map((frame) => frame.attrs.id);
    assert.deepEqual(answers, ["p2", "p3"]);
  });

  scenario("answers and messages keep the order in which they were sent", async (stage) => {
    const [alice, bob] = await stage.pair();
    const had = await caughtUp(bob);
    const first = [];
    bob.onFrame = (frame) => void (frame.isStanza && first.push(frame.body ?? frame.attrs.id));
    for (let i = 1; i <= 6; i += 1) {
      if (i % 2) bob.send(ping(`p${i}`));
      else alice.message(bare(bob.user), `message ${i}`);
      await (i % 2 ? bob.expect(isAnswer(`p${i}`)) : bob.expectMessage(`message ${i}`));
    }
    await bob.vanish();
    const back = await stage.again(bob);
    const second = [];
    back.onFrame = (frame) => void (frame.isStanza && second.push(frame.body ?? frame.attrs.id));
    assert.equal((await back.resume(bob, had)).name, "resumed");
    await back.expectMessage("message 6");
    assert.deepEqual(second, first);
  });

  scenario("a page of the archive that is cut twice comes to its end", async (stage) => {
    const bob = await stage.person("bob");
    for (const body of numbered(40)) bob.message(bare(bob.user), body);
    await bob.expectMessage("message 40");
    const had = await caughtUp(bob);
    const id = randomUUID();
    bob.send(`<iq xmlns='jabber:client' type='set' id='page'>${query(id, { max: 40 })}</iq>`);
    await bob.expect(isAnswer("page"));
    await bob.vanish();
    const second = await stage.again(bob);
    second.answers = false;
    assert.equal((await second.resume(bob, had + 7)).name, "resumed");
    await second.expect(isAnswer("page"));
    assert.equal(resultsOf(second.waiting, id).length, 33);
    await second.vanish();
    const third = await stage.resumed(bob, had + 30);
    const fin = await third.expect(isAnswer("page"));
    assert.equal(resultsOf(third.waiting, id).length, 10);
    assert.equal(finOf(fin).complete, true);
  });

  scenario("what need not be kept leaves its number, so that both go on counting alike", async (stage) => {
    const [alice, bob] = await stage.pair();
    const had = await caughtUp(bob);
    const extra = "<composing xmlns='http://jabber.org/protocol/chatstates'/>";
    const typing = () => alice.message(bare(bob.user), null, { extra });
    typing();
    alice.message(bare(bob.user), "said");
    typing();
    await bob.expectMessage("said");
    await alice.settle();
    await bob.settle();
    const heard = bob.handled - had;
    await bob.vanish();
    const back = await stage.resumed(bob, had);
    await back.expectMessage("said");
    await back.settle();
    assert.equal(back.handled - had, heard + 1, "as many as before, and the answer to one more ping");
    back.ack();
    await back.settle();
    assert(!back.isClosed);
  });

  scenario("receipts, markers and the relay's own receipts come again if they were lost", async (stage) => {
    const [alice, bob] = await stage.pair();
    const had = await caughtUp(alice);
    const extra = `<request xmlns='${NS.receipts}'/><accept xmlns='${NS.accepted}'/>`;
    const id = alice.message(bare(bob.user), "asking", { origin: true, extra });
    const isAccepted = (frame) => frame.all("accepted", NS.accepted).length > 0;
    const isReceipt = (frame) => frame.get("received", NS.receipts)?.attrs.id === id;
    const isMarker = (frame) => frame.get("displayed", NS.markers)?.attrs.id === id;
    await bob.expectMessage("asking");
    bob.message(bare(alice.user), null, { extra: `<received xmlns='${NS.receipts}' id='${id}'/>` });
    bob.message(bare(alice.user), null, { extra: `<displayed xmlns='${NS.markers}' id='${id}'/>` });
    for (const wanted of [isAccepted, isReceipt, isMarker]) await alice.expect(wanted);
    await alice.vanish();
    const back = await stage.resumed(alice, had);
    for (const wanted of [isAccepted, isReceipt, isMarker]) await back.expect(wanted);
    await back.settle();
    assert(!back.waiting.some((frame) => [isAccepted, isReceipt, isMarker].some((wanted) => wanted(frame))), "twice");
  });

  scenario("a message that comes again is the same one: its stanza-id, and the time it first came", async (stage) => {
    const [alice, bob] = await stage.pair();
    const had = await caughtUp(bob);
    const since = Date.now();
    alice.message(bare(bob.user), "once");
    const first = await bob.expectMessage("once");
    await sleep(1_500);
    await bob.vanish();
    const second = await (await stage.resumed(bob, had)).expectMessage("once");
    for (const name of ["id", "from", "to", "type"]) assert.equal(second.attrs[name], first.attrs[name]);
    assert.deepEqual(second.get("stanza-id", NS.sid).attrs, first.get("stanza-id", NS.sid).attrs);
    const stamp = Date.parse(second.get("delay", NS.delay)?.attrs.stamp);
    assert(stamp >= since - 1_000 && stamp <= since + 1_400, second.xml);
  });

  scenario("one session of an account is replayed what it lacks, and the other nothing", async (stage) => {
    const [alice, bob] = await stage.pair({ bob: { resource: "phone" } });
    const tablet = await stage.login(bob.user, { resource: "tablet" });
    await tablet.settle();
    const had = await caughtUp(bob);
    for (const body of numbered(5)) alice.message(bare(bob.user), body);
    for (const wire of [bob, tablet]) await wire.expectMessage("message 5");
    await bob.vanish();
    const back = await stage.resumed(bob, had);
    await back.expectMessage("message 5");
    await tablet.settle();
    assert.deepEqual(tablet.bodies, numbered(5));
    assert.deepEqual(back.bodies, numbered(5));
  });

  scenario("a request for an ack is answered at once, with the count of before", async (stage) => {
    const alice = await stage.person("alice");
    await alice.ask();
    await alice.vanish();
    const back = await stage.again(alice);
    back.send(sm("resume", `previd='${alice.smId}' h='${alice.handled}'`));
    back.send(sm("r"));
    const resumed = await back.expect((frame) => frame.is("resumed", NS.sm));
    const a = await back.expect((frame) => frame.is("a", NS.sm));
    assert.deepEqual([resumed.attrs.h, a.attrs.h], [String(alice.sent), String(alice.sent)]);
  });
});

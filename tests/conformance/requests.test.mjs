// XEP-0198 §4: when the relay asks for an ack, and what it does with a device that gives none.
import assert from "node:assert/strict";
import { after, afterEach, before, describe } from "node:test";
import { page, query } from "../harness/archive.mjs";
import { sleep, until, within } from "../harness/wait.mjs";
import { bare } from "../harness/wire.mjs";
import { NS } from "../harness/xml.mjs";
import { AVAILABLE, WIDTH, caughtUp, endsWith, isError, isSm, numbered, scenarios } from "./stage.mjs";

const scenario = scenarios({ before, after, afterEach });
const requests = (wire) => wire.waiting.filter(isSm("r")).length;

describe("the relay asks for an ack", { concurrency: WIDTH }, () => {
  scenario("after five stanzas at the latest", async (stage) => {
    const [alice, bob] = await stage.pair({ bob: { answers: false } });
    await bob.settle();
    bob.ack();
    bob.drop();
    for (const body of numbered(5)) alice.message(bare(bob.user), body);
    await bob.expectMessage("message 5");
    await bob.expect(isSm("r"), "<r/>", 2_000);
  });

  scenario("when a lone stanza stays unacknowledged", async (stage) => {
    const [alice, bob] = await stage.pair({ bob: { answers: false } });
    await bob.settle();
    bob.ack();
    bob.drop();
    alice.message(bare(bob.user), "lone");
    await bob.expectMessage("lone");
    await bob.expect(isSm("r"), "<r/>", 3_000);
  });

  scenario("at the fifth of a burst, without waiting for its end", async (stage) => {
    const [alice, bob] = await stage.pair();
    await caughtUp(bob);
    const seen = [];
    bob.onFrame = (frame) => void seen.push(frame.is("r", NS.sm) ? "r" : frame.body);
    for (const body of numbered(20)) alice.message(bare(bob.user), body);
    await bob.expectMessage("message 20");
    await bob.expect(isSm("r"));
    assert(seen.indexOf("r") <= 5, seen.join());
  });

  scenario("once: while a request is open, more stanzas bring no other", async (stage) => {
    const [alice, bob] = await stage.pair();
    await caughtUp(bob);
    for (const body of numbered(30)) alice.message(bare(bob.user), body);
    await bob.expectMessage("message 30");
    await sleep(1_000);
    assert.equal(requests(bob), 1);
    bob.ack();
    for (const body of numbered(5, "more")) alice.message(bare(bob.user), body);
    await bob.expectMessage("more 5");
    await bob.expect(isSm("r"));
    await bob.expect(isSm("r"), "the next request");
  });

  scenario("not at all while nothing is outstanding", async (stage) => {
    const bob = await stage.person("bob");
    await caughtUp(bob);
    await sleep(1_500);
    assert.equal(requests(bob), 0);
  });

  scenario("not at all of a device without stream management", async (stage) => {
    const [alice, bob] = await stage.pair({ bob: { sm: false } });
    for (const body of numbered(12)) alice.message(bare(bob.user), body);
    await bob.expectMessage("message 12");
    await sleep(1_000);
    assert.equal(bob.waiting.filter((frame) => frame.ns === NS.sm).length, 0);
  });

  scenario("not again and again of a device that answers without anything new", async (stage) => {
    const [alice, bob] = await stage.pair();
    const had = await caughtUp(bob);
    alice.message(bare(bob.user), "not counted");
    await bob.expect(isSm("r"));
    bob.ack(had);
    await sleep(1_500);
    assert.equal(requests(bob), 0, "it was asked again at once");
  });
});

describe("a device that does not answer", { concurrency: WIDTH }, () => {
  scenario("loses its link after ten seconds, and keeps its session", async (stage) => {
    const [alice, bob] = await stage.pair({ bob: { answers: false } });
    alice.message(bare(bob.user), "unanswered");
    const error = await bob.expect(isError, "connection-timeout", 20_000);
    assert.equal(error.condition, "connection-timeout");
    await within(10_000, "the socket to close", bob.closed);
    const back = await stage.again(bob);
    assert.equal((await back.resume(bob, 0)).name, "resumed");
    await back.expectMessage("unanswered");
  });

  scenario("has all of ten seconds from the request, and not much more", async (stage) => {
    const [alice, bob] = await stage.pair();
    await caughtUp(bob);
    alice.message(bare(bob.user), "unanswered");
    await bob.expect(isSm("r"));
    const asked = Date.now();
    assert.equal((await bob.expect(isError, "connection-timeout", 20_000)).condition, "connection-timeout");
    const seconds = (Date.now() - asked) / 1_000;
    assert(seconds > 9.5 && seconds < 15, `it was ${seconds} s`);
  });

  scenario("is not spared because it writes and asks itself", async (stage) => {
    const [alice, bob] = await stage.pair();
    const had = await caughtUp(bob);
    alice.message(bare(bob.user), "unanswered");
    const writing = (async () => {
      while (!bob.isClosed) {
        bob.message(bare(alice.user), "busy");
        await sleep(1_000);
      }
    })();
    await endsWith(bob, "connection-timeout", 20_000);
    await writing;
    await stage.resumed(bob, had);
  });

  scenario("is spared by an answer that comes late", async (stage) => {
    const [alice, bob] = await stage.pair();
    await caughtUp(bob);
    alice.message(bare(bob.user), "answered late");
    await bob.expect(isSm("r"));
    await sleep(7_000);
    bob.ack();
    await sleep(5_000);
    await bob.settle();
    assert(!bob.isClosed);
  });

  scenario("and says goodbye instead has ended its session", async (stage) => {
    const [alice, bob] = await stage.pair();
    await caughtUp(bob);
    alice.message(bare(bob.user), "unanswered");
    await bob.expect(isSm("r"));
    await bob.close();
    const back = await stage.again(bob);
    assert.equal((await back.resume(bob, 0)).name, "failed");
  });
});

describe("what is sent to a device that acks nothing", { concurrency: WIDTH }, () => {
  scenario("is a hundred messages of those that wait, and more with every ack", async (stage) => {
    const [alice, user] = [await stage.person("alice"), await stage.account("bob")];
    await (await stage.login(user, { resource: "phone" })).close();
    for (const body of numbered(250)) alice.message(bare(user), body);
    assert.equal(await alice.ask(), alice.sent);
    const bob = await stage.login(user, { resource: "phone", answers: false });
    await until("the window to be full", () => bob.bodies.length >= 90);
    await sleep(500);
    assert(bob.bodies.length <= 100, `${bob.bodies.length} came`);
    for (const upto of [150, 200, 250]) {
      bob.ack(bob.handled - 50);
      await bob.expectMessage(numbered(upto - 5).at(-1));
    }
    bob.ack();
    await bob.expectMessage("message 250");
    assert.deepEqual(bob.bodies, numbered(250));
  });

  scenario("ends after a thousand stanzas with resource-constraint", async (stage) => {
    const bob = await stage.person("bob");
    for (const body of numbered(250)) bob.message(bare(bob.user), body);
    await bob.expectMessage("message 250");
    const had = await caughtUp(bob);
    assert.equal((await page(bob, { max: 250 })).results.length, 250);
    bob.ack();
    const start = await bob.ask();
    // Four answers of 251 stanzas each are more than a thousand.
    for (const id of ["p1", "p2", "p3", "p4"]) {
      bob.send(`<iq xmlns='jabber:client' type='set' id='${id}'>${query(id, { max: 250 })}</iq>`);
    }
    for (let i = 0; i < 6; i += 1) bob.send(AVAILABLE);
    await endsWith(bob, "resource-constraint");
    assert(bob.handled - had > 1_000, `${bob.handled - had} were sent`);
    const back = await stage.resumed(bob);
    assert.equal(back.resumedAt, start + 4, "what was refused was counted, or what was answered was not");
    await back.settle();
  });

  scenario("ends after 256 KiB of answers with resource-constraint, and the session gets them again", async (stage) => {
    const bob = await stage.person("bob");
    const had = await caughtUp(bob);
    const start = await bob.ask();
    bob.ack();
    const ids = Array.from({ length: 70 }, (_, i) => `${i}-`.padEnd(4_000, "x"));
    for (const id of ids) bob.send(`<iq xmlns='jabber:client' type='get' id='${id}'><ping xmlns='${NS.ping}'/></iq>`);
    bob.message(bare(bob.user), "not heard");
    await endsWith(bob, "resource-constraint");
    const back = await stage.resumed(bob, had + 1);
    assert(back.resumedAt >= start + 64 && back.resumedAt < start + 71, `${back.resumedAt - start} were taken`);
    for (const id of ids.slice(0, back.resumedAt - start)) {
      await back.expect((frame) => frame.is("iq") && frame.attrs.id === id, "an answer");
    }
    await back.settle();
    back.message(bare(bob.user), "heard");
    await back.expectMessage("heard");
    assert.deepEqual(back.bodies, ["heard"]);
  });
});

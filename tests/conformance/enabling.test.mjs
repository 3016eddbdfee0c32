// XEP-0198 §2, §3: announcing stream management and switching it on.
import assert from "node:assert/strict";
import { after, afterEach, before, describe } from "node:test";
import { Wire, bare, passwordOf } from "../harness/wire.mjs";
import { NS } from "../harness/xml.mjs";
import { AVAILABLE, WIDTH, assertFailed, assertResumable, isError, isSm, numbered, scenarios, sm } from "./stage.mjs";

const scenario = scenarios({ before, after, afterEach });
const enable = (attributes) => sm("enable", attributes);

describe("stream management", { concurrency: WIDTH }, () => {
  scenario("is offered, and <enabled/> carries an id and at most ten minutes", async (stage) => {
    const [alice] = await stage.pair({ alice: { sm: false } });
    assert(alice.features.get("sm", NS.sm), alice.features.xml);
    const enabled = await alice.enable();
    assert(enabled.attrs.id.length >= 16, enabled.xml);
    assert(["true", "1"].includes(enabled.attrs.resume), enabled.xml);
    assert(Number(enabled.attrs.max) > 0 && Number(enabled.attrs.max) <= 600, enabled.xml);
  });

  scenario("is not offered before authentication, neither in a mailbox nor in the lobby", async (stage) => {
    const user = await stage.account();
    for (const account of [bare(user), undefined]) {
      const wire = stage.keep(await Wire.connect(stage.relay.url(account)));
      const features = await wire.open();
      assert(!features.get("sm", NS.sm), features.xml);
    }
  });

  scenario("asked for before authentication is refused, and the stream goes on", async (stage) => {
    const user = await stage.account();
    for (const account of [bare(user), undefined]) {
      for (const request of [enable("resume='true'"), sm("resume", "h='0' previd='x'")]) {
        const wire = stage.keep(await Wire.connect(stage.relay.url(account)));
        await wire.open();
        wire.send(request);
        assertFailed(await wire.expect(isSm("failed")), "unexpected-request");
        await wire.authenticate(user, passwordOf(user));
      }
    }
  });

  scenario("told to resume without a count refuses, and a resource can be bound", async (stage) => {
    const user = await stage.account();
    for (const attributes of ["previd='x'", "previd='x' h='x'", "previd='x' h='-1'"]) {
      const wire = await stage.login(user, { resume: true });
      wire.send(sm("resume", attributes));
      assertFailed(await wire.expect(isSm("failed")), "bad-request");
      await wire.bind();
    }
  });

  scenario("ends with a presence that the other devices see", async (stage) => {
    const user = await stage.account();
    const phone = await stage.login(user, { resource: "phone" });
    const tablet = await stage.login(user, { resource: "tablet" });
    await tablet.settle();
    await tablet.close();
    const gone = await phone.expect((frame) => frame.is("presence") && frame.attrs.type === "unavailable");
    assert.equal(gone.attrs.from, tablet.jid, gone.xml);
  });

  scenario("counts a stanza whose id is as long as it may be", async (stage) => {
    const alice = await stage.person("alice");
    const id = "x".repeat(200_000);
    alice.send(`<iq xmlns='jabber:client' type='get' id='${id}'><ping xmlns='${NS.ping}'/></iq>`);
    const answer = await alice.expect((frame) => frame.is("iq") && frame.attrs.id === id);
    assert.equal(answer.attrs.type, "result");
    assert.equal(await alice.ask(), alice.sent);
  });

  scenario("is refused before a resource is bound", async (stage) => {
    const wire = await stage.login(await stage.account("early"), { resume: true });
    wire.send(enable("resume='true'"));
    const failed = await wire.expect(isSm("failed"));
    assert.equal(failed.condition, "unexpected-request", failed.xml);
  });

  scenario("refused before a resource is bound is granted after it, on the same stream", async (stage) => {
    const wire = await stage.login(await stage.account("early"), { resume: true });
    wire.send(enable("resume='true'"));
    assertFailed(await wire.expect(isSm("failed")), "unexpected-request");
    await wire.bind();
    await wire.enable();
    await wire.settle();
    assert.equal(await wire.ask(), wire.sent);
  });

  scenario("is refused a second time on one stream", async (stage) => {
    const [alice] = await stage.pair();
    alice.send(enable("resume='true'"));
    const answer = await alice.expect((frame) => isSm("failed")(frame) || isError(frame));
    assert.match(answer.xml, /unexpected-request|policy-violation|unsupported-stanza-type/);
  });

  scenario("asked for a second time leaves the session that there is", async (stage) => {
    const alice = await stage.person("alice");
    await alice.settle();
    alice.send(enable("resume='true'"));
    await alice.expect((frame) => isSm("failed")(frame) || isError(frame));
    assert(!alice.isClosed && (await alice.ask()) === alice.sent, "the counts began anew");
    await alice.vanish();
    await assertResumable(stage, alice);
  });

  for (const value of ["true", "1"]) {
    scenario(`with resume='${value}' can be resumed`, async (stage) => {
      const alice = await stage.person("alice", { sm: false });
      alice.send(enable(`resume='${value}'`));
      const enabled = await alice.expect(isSm("enabled"));
      alice.smId = enabled.attrs.id;
      assert.match(enabled.attrs.resume, /^(true|1)$/, enabled.xml);
      await alice.vanish();
      await assertResumable(stage, alice);
    });
  }

  for (const attributes of ["", "resume='false'", "resume='0'"]) {
    scenario(`with ${attributes || "no wish to resume"} counts, and has no id to resume by`, async (stage) => {
      const alice = await stage.person("alice", { sm: false });
      await alice.settle();
      alice.sent = 0;
      alice.send(enable(attributes));
      const enabled = await alice.expect(isSm("enabled"));
      assert(!["true", "1"].includes(enabled.attrs.resume), enabled.xml);
      assert.equal(await alice.ask(), alice.sent);
      await alice.vanish();
      const back = await stage.again(alice);
      assertFailed(await back.resume({ ...alice, smId: enabled.attrs.id ?? "" }, 0), "item-not-found");
    });
  }

  scenario("gives every session another id, none over 4000 bytes", async (stage) => {
    const user = await stage.account();
    const ids = [];
    for (let i = 0; i < 5; i += 1) {
      const wire = await stage.login(user, { resource: "desk" });
      ids.push(wire.smId);
      await (i % 2 ? wire.close() : wire.vanish());
    }
    assert.equal(new Set(ids).size, 5, ids.join());
    assert(ids.every((id) => Buffer.byteLength(id) <= 4000));
  });

  scenario("grants no more than its ten minutes to whoever wishes for a day", async (stage) => {
    const alice = await stage.person("alice", { sm: false });
    const enabled = await alice.enable({ max: 86_400 });
    assert(Number(enabled.attrs.max) <= 600, enabled.xml);
  });

  scenario("of an older namespace is not enabled", async (stage) => {
    const alice = await stage.person("alice", { sm: false });
    alice.send("<enable xmlns='urn:xmpp:sm:2' resume='true'/>");
    const answer = await alice.expect((frame) => isError(frame) || ["failed", "enabled"].includes(frame.name));
    assert.notEqual(answer.name, "enabled", answer.xml);
  });

  scenario("is granted after the session request of old, and without it", async (stage) => {
    const alice = await stage.person("alice", { sm: false, presence: false });
    const session = await alice.iq("set", "<session xmlns='urn:ietf:params:xml:ns:xmpp-session'/>");
    assert.equal(session.attrs.type, "result", session.xml);
    await alice.enable();
    assert.equal(await alice.ask(), alice.sent);
  });
});

describe("what is sent around <enable/>", { concurrency: WIDTH }, () => {
  scenario("before it is not counted by either side", async (stage) => {
    const [alice, bob] = await stage.pair({ alice: { sm: false } });
    for (const body of numbered(3, "early")) alice.message(bare(bob.user), body);
    bob.message(bare(alice.user), "early too");
    await alice.expectMessage("early too");
    await alice.settle();
    alice.answers = false;
    await alice.enable();
    alice.send(sm("r"));
    assert.equal((await alice.expect(isSm("a"))).attrs.h, "0");
    bob.message(bare(alice.user), "counted");
    await alice.expectMessage("counted");
    assert.equal(alice.handled, 1);
    alice.ack(1);
    await alice.settle();
  });

  scenario("right behind it is counted from its first stanza, though <enabled/> has not come", async (stage) => {
    const [alice, bob] = await stage.pair({ alice: { sm: false } });
    await alice.settle();
    alice.send(enable("resume='true'"));
    for (const body of numbered(3)) alice.message(bare(bob.user), body);
    alice.send(sm("r"));
    await alice.expect(isSm("enabled"));
    assert.equal((await alice.expect(isSm("a"))).attrs.h, "3");
    await bob.expectMessage("message 3");
    assert.deepEqual(bob.bodies, numbered(3));
  });

  scenario("may be offline messages: both sides agree on the number that follows", async (stage) => {
    const [alice, user] = [await stage.person("alice"), await stage.account("bob")];
    await (await stage.login(user, { resource: "phone" })).close();
    for (const body of numbered(3)) alice.message(bare(user), body);
    assert.equal(await alice.ask(), alice.sent);
    const bob = await stage.login(user, { resource: "phone", sm: false, presence: false, answers: false });
    bob.send(AVAILABLE);
    bob.send(enable("resume='true'"));
    bob.send(AVAILABLE);
    const enabled = await bob.expect(isSm("enabled"));
    bob.smId = enabled.attrs.id;
    alice.message(bare(user), "live");
    await bob.expectMessage("live");
    assert.deepEqual(bob.bodies, [...numbered(3), "live"]);
    await bob.settle();
    const counted = bob.handled;
    await bob.vanish();
    const back = await stage.resumed(bob, counted);
    await back.settle();
    assert.deepEqual(back.bodies, []);
  });

  scenario("is no request: <r/> is not answered, and the stream goes on", async (stage) => {
    const alice = await stage.person("alice", { sm: false });
    alice.send(sm("r"));
    await alice.settle();
    assert(!alice.waiting.some(isSm("a")), "it was answered");
    await alice.enable();
    assert.equal(await alice.ask(), alice.sent);
  });

  scenario("is no ack: <a/> confirms nothing, and the stream goes on", async (stage) => {
    const alice = await stage.person("alice", { sm: false });
    alice.send(sm("a", "h='7'"));
    await alice.settle();
    await alice.enable();
    assert.equal(await alice.ask(), alice.sent);
  });
});

// XEP-0198 §4: what counts, what <a/> says, and what becomes of an ack that cannot be right.
import assert from "node:assert/strict";
import { after, afterEach, before, describe } from "node:test";
import { within } from "../harness/wait.mjs";
import { Wire, bare, someone } from "../harness/wire.mjs";
import { NS } from "../harness/xml.mjs";
import { AVAILABLE, WIDTH, assertResumable, caughtUp, endsWith, isError, isSm, numbered, scenarios, sm } from "./stage.mjs";

const scenario = scenarios({ before, after, afterEach });
const stanza = (name, attributes, payload = "") => `<${name} xmlns='jabber:client' ${attributes}>${payload}</${name}>`;
const BODY = "<body>hello</body>";

/** What the relay counts of one frame, and of a ping behind it. */
async function countOf(stage, frame) {
  const alice = await stage.person("alice");
  const before = await alice.ask();
  alice.send(typeof frame === "function" ? frame(alice) : frame);
  alice.send(sm("r"));
  const a = await alice.expect(isSm("a"));
  alice.sent = before + 1;
  assert.equal(await alice.ask(), Number(a.attrs.h) + 1, "what follows is counted from elsewhere");
  return Number(a.attrs.h) - before;
}

const STANZAS = [
  ["a message to somebody", () => stanza("message", `to='${bare("somebody")}' type='chat' id='1'`, BODY)],
  ["a message to oneself", (wire) => stanza("message", `to='${bare(wire.user)}' type='chat' id='1'`, BODY)],
  ["a message without an address", stanza("message", "type='chat'", BODY)],
  ["a message to an impossible address", stanza("message", "to='@@' type='chat' id='1'", BODY)],
  ["a message to another server", stanza("message", "to='bob@elsewhere.example' id='1'", BODY)],
  ["a message that is empty", stanza("message", `to='${bare("somebody")}'`)],
  ["an error that is not stored", stanza("message", `to='${bare("somebody")}' type='error'`, BODY)],
  ["presence", AVAILABLE],
  ["presence to somebody", stanza("presence", `to='${bare("somebody")}'`)],
  ["a request for a subscription", stanza("presence", `to='${bare("somebody")}' type='subscribe' id='1'`)],
  ["a request", stanza("iq", "type='get' id='1'", `<ping xmlns='${NS.ping}'/>`)],
  ["an answer to nothing", stanza("iq", "type='result' id='1'")],
  ["a request of no known kind", stanza("iq", "type='get' id='1'", "<query xmlns='urn:example:unknown'/>")],
  ["a request without type, id and payload", "<iq xmlns='jabber:client'/>"],
];

const NONZAS = [
  ["a request for an ack", sm("r")],
  ["an ack", (wire) => sm("a", `h='${wire.handled}'`)],
  ["a second <enable/>", sm("enable", "resume='true'")],
  ["a <resume/> that comes too late", sm("resume", "h='0' previd='x'")],
];

describe("the relay counts", { concurrency: WIDTH }, () => {
  scenario("stanzas and nothing else", async (stage) => {
    const [alice, bob] = await stage.pair();
    alice.message(bare(bob.user), "one");
    alice.send(AVAILABLE);
    alice.send(sm("r"));
    alice.ack();
    assert.equal(await alice.ask(), alice.sent);
    alice.message(bare(bob.user), "two");
    assert.equal(await alice.ask(), alice.sent);
  });

  for (const [what, frame] of STANZAS) {
    scenario(`${what} as one`, async (stage) => assert.equal(await countOf(stage, frame), 1));
  }

  for (const [what, frame] of NONZAS) {
    scenario(`${what} as nothing`, async (stage) => {
      const alice = await stage.person("alice");
      const before = await alice.ask();
      alice.send(typeof frame === "function" ? frame(alice) : frame);
      assert.equal(await alice.ask(), before + 1, "the ping alone");
    });
  }

  scenario("what it sent by the same rule: stanzas of all kinds, and neither <a/> nor <r/>", async (stage) => {
    const [alice, bob] = await stage.pair();
    alice.message(bare(someone("nobody")), "comes back");
    await alice.expect((frame) => frame.is("message") && frame.attrs.type === "error");
    for (const body of numbered(7)) bob.message(bare(alice.user), body);
    await alice.expectMessage("message 7");
    for (let i = 0; i < 3; i += 1) await alice.ask();
    const exact = alice.handled;
    alice.ack(exact);
    await alice.settle();
    assert(!alice.isClosed);
    alice.ack(exact + 2);
    const error = await endsWith(alice, "undefined-condition");
    assert.equal(error.get("handled-count-too-high", NS.sm)?.attrs["send-count"], String(exact + 1), error.xml);
  });
});

describe("an ack of the relay", { concurrency: WIDTH }, () => {
  scenario("comes for every request, also when there is nothing new to say", async (stage) => {
    const alice = await stage.person("alice");
    await alice.ask();
    for (let i = 0; i < 3; i += 1) alice.send(sm("r"));
    const acks = [];
    for (let i = 0; i < 3; i += 1) acks.push(Number((await alice.expect(isSm("a"))).attrs.h));
    assert.deepEqual(acks, [alice.sent, alice.sent, alice.sent]);
  });

  scenario("covers exactly what was sent before its request, request by request", async (stage) => {
    const [alice, bob] = await stage.pair();
    const start = await alice.ask();
    for (const body of numbered(5)) {
      alice.message(bare(bob.user), body);
      alice.send(sm("r"));
    }
    const acks = [];
    for (let i = 0; i < 5; i += 1) acks.push(Number((await alice.expect(isSm("a"))).attrs.h) - start);
    // A later one may say what was stored meanwhile, an earlier one must not wait for it.
    acks.forEach((h, i) => assert(h >= i + 1 && h <= 5, `ack ${i + 1} is ${h}`));
    assert.deepEqual(acks, [...acks].sort((a, b) => a - b), "acks went backwards");
    assert.equal(acks[4], 5);
  });

  scenario("comes unasked to a device that writes and never asks", async (stage) => {
    const [alice, bob] = await stage.pair();
    alice.message(bare(bob.user), "not asking");
    await alice.expect((frame) => isSm("a")(frame) && Number(frame.attrs.h) === alice.sent, "<a/>");
  });

  scenario("has h and nothing else", async (stage) => {
    const alice = await stage.person("alice");
    alice.send(sm("r"));
    const { attrs, children, text } = await alice.expect(isSm("a"));
    const { xmlns, h, ...more } = attrs;
    assert.deepEqual([xmlns, more, children, text], [NS.sm, {}, [], ""]);
    assert.match(h, /^\d+$/);
  });
});

describe("an ack of the device", { concurrency: WIDTH }, () => {
  scenario("ends the stream with handled-count-too-high when an ack claims more than was sent", async (stage) => {
    const [alice] = await stage.pair();
    await alice.settle();
    alice.ack(1_000_000);
    const error = await alice.expect(isError);
    assert.equal(error.condition, "undefined-condition", error.xml);
    const detail = error.get("handled-count-too-high", NS.sm);
    assert.equal(detail?.attrs.h, "1000000", error.xml);
    assert(Number(detail.attrs["send-count"]) < 1_000, error.xml);
    await within(15_000, "the socket to close", alice.closed);
  });

  scenario("that is too high by one is answered by the letter of the specification, then <close/>", async (stage) => {
    const alice = await stage.person("alice", { answers: false });
    await alice.settle();
    const [h, sent] = [alice.handled + 1, alice.handled];
    alice.ack(h);
    const error = await alice.expect(isError);
    const [condition, detail] = error.children;
    assert(condition.is("undefined-condition", NS.streamErrors), error.xml);
    assert(detail.is("handled-count-too-high", NS.sm), error.xml);
    assert.deepEqual([detail.attrs.h, detail.attrs["send-count"]], [String(h), String(sent)], error.xml);
    await alice.expect((frame) => frame.is("close", NS.framing), "<close/>");
    await within(15_000, "the socket to close", alice.closed);
  });

  scenario("that was too high has confirmed nothing, and the session can be resumed", async (stage) => {
    const [alice, bob] = await stage.pair();
    const had = await caughtUp(bob);
    for (const body of numbered(3)) alice.message(bare(bob.user), body);
    await bob.expectMessage("message 3");
    bob.ack(had + 4);
    await endsWith(bob, "undefined-condition");
    const back = await stage.resumed(bob, had);
    await back.expectMessage("message 3");
    assert.deepEqual(back.bodies, numbered(3));
  });

  for (const h of ["-1", "4294967296", "x", ""]) {
    scenario(`survives an ack with h='${h}'`, async (stage) => {
      const [alice, bob] = await stage.pair();
      alice.send(`<a xmlns='${NS.sm}' h='${h}'/>`);
      await alice.expect(isError);
      bob.message(bare(alice.user), "still here?");
      const back = stage.keep(await Wire.login(stage.relay, alice.user));
      await back.expectMessage("still here?");
    });
  }

  for (const attributes of ["", "h='+1'", "h=' 1'", "h='1.0'", "h='0x1'", "H='1'", "h='99999999999999999999'"]) {
    scenario(`with ${attributes || "no h at all"} ends the stream and not the session`, async (stage) => {
      const alice = await stage.person("alice");
      await alice.settle();
      alice.send(sm("a", attributes));
      await endsWith(alice, "bad-format");
      await assertResumable(stage, alice);
    });
  }

  scenario("that goes backwards ends the stream and takes nothing back", async (stage) => {
    const [alice, bob] = await stage.pair();
    await caughtUp(bob);
    for (const body of numbered(3)) alice.message(bare(bob.user), body);
    await bob.expectMessage("message 3");
    bob.ack();
    await bob.settle();
    bob.ack(bob.handled - 3);
    await endsWith(bob, "undefined-condition");
    const back = await stage.resumed(bob);
    await back.settle();
    assert.deepEqual(back.bodies, []);
  });

  scenario("that says the same again and again changes nothing", async (stage) => {
    const [alice, bob] = await stage.pair();
    const had = await caughtUp(bob);
    for (let i = 0; i < 5; i += 1) bob.ack(had);
    alice.message(bare(bob.user), "unacked");
    await bob.expectMessage("unacked");
    for (let i = 0; i < 5; i += 1) bob.ack(had);
    await bob.settle();
    await bob.vanish();
    const back = await stage.resumed(bob, had);
    await back.expectMessage("unacked");
  });

  scenario("for some of it confirms these, and the others come again", async (stage) => {
    const [alice, bob] = await stage.pair();
    const had = await caughtUp(bob);
    for (const body of numbered(5)) alice.message(bare(bob.user), body);
    await bob.expectMessage("message 5");
    bob.ack(had + 2);
    await bob.settle();
    await bob.vanish();
    const back = await stage.resumed(bob, had + 2);
    await back.expectMessage("message 5");
    assert.deepEqual(back.bodies, numbered(5).slice(2));
  });

  scenario("right before a goodbye is the last word: nothing of it comes to the next session", async (stage) => {
    const [alice, bob] = await stage.pair({ bob: { resource: "phone" } });
    await caughtUp(bob);
    for (const body of numbered(3)) alice.message(bare(bob.user), body);
    await bob.expectMessage("message 3");
    bob.ack();
    await bob.close();
    const back = await stage.login(bob.user, { resource: "phone" });
    await back.settle();
    assert.deepEqual(back.bodies, []);
  });

  scenario("that was not given before a goodbye leaves the messages to the next session", async (stage) => {
    const [alice, bob] = await stage.pair({ bob: { resource: "phone" } });
    await caughtUp(bob);
    for (const body of numbered(3)) alice.message(bare(bob.user), body);
    await bob.expectMessage("message 3");
    await bob.close();
    const back = await stage.login(bob.user, { resource: "phone" });
    await back.expectMessage("message 3");
    assert.deepEqual(back.bodies, numbered(3));
    assert(!alice.waiting.some((frame) => frame.attrs.type === "error"), "the sender was told of a failure");
  });
});

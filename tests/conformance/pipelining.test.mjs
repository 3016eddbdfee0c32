// XEP-0198 §5 for a client in a hurry: it waits for nothing that it can know.
import assert from "node:assert/strict";
import { after, afterEach, before, describe } from "node:test";
import { DOMAIN } from "../harness/env.mjs";
import { Scram } from "../harness/scram.mjs";
import { Wire, bare, passwordOf } from "../harness/wire.mjs";
import { NS } from "../harness/xml.mjs";
import { AVAILABLE, WIDTH, assertFailed, caughtUp, endsWith, isError, isSm, numbered, scenarios, sm } from "./stage.mjs";

const scenario = scenarios({ before, after, afterEach });
const resume = (previd, h) => sm("resume", `previd='${previd}' h='${h}'`);
const isVerdict = (frame) => ["resumed", "failed"].includes(frame.name) || isError(frame);

describe("everything at once, without waiting for an answer:", { concurrency: WIDTH }, () => {
  /** Signs in as `user` and sends `frames` together with the last word of the authentication. */
  async function rushed(stage, user, frames, handled = 0) {
    const wire = stage.keep(await Wire.connect(stage.relay.url(bare(user))));
    Object.assign(wire, { user, handled });
    const open = `<open xmlns='${NS.framing}' to='${DOMAIN}' version='1.0'/>`;
    const base64 = (text) => Buffer.from(text).toString("base64");
    const scram = new Scram("SCRAM-SHA-256", user, passwordOf(user));
    wire.send(open);
    wire.send(`<auth xmlns='${NS.sasl}' mechanism='SCRAM-SHA-256'>${base64(scram.first())}</auth>`);
    const challenge = await wire.expect((frame) => frame.is("challenge", NS.sasl));
    const last = base64(scram.final(Buffer.from(challenge.text, "base64").toString()));
    for (const frame of [`<response xmlns='${NS.sasl}'>${last}</response>`, open, ...frames]) wire.send(frame);
    return wire;
  }
  const message = (to, body) => `<message xmlns='jabber:client' to='${to}' type='chat'><body>${body}</body></message>`;
  const BIND = `<iq xmlns='jabber:client' type='set' id='bind'><bind xmlns='${NS.bind}'/></iq>`;

  scenario("authentication, resumption and stanzas", async (stage) => {
    const [alice, bob] = await stage.pair();
    const had = await caughtUp(alice);
    bob.message(bare(alice.user), "unacked");
    await alice.expectMessage("unacked");
    const sent = await alice.ask();
    await alice.vanish();
    const frames = numbered(5).map((body) => message(bare(bob.user), body));
    const back = await rushed(stage, alice.user, [resume(alice.smId, had), ...frames, sm("r")], had);
    const resumed = await back.expect(isVerdict);
    assert.equal(resumed.attrs.h, String(sent), resumed.xml);
    await back.expectMessage("unacked");
    assert.equal((await back.expect(isSm("a"))).attrs.h, String(sent + 5));
    await bob.expectMessage("message 5");
    assert.deepEqual(bob.bodies, numbered(5));
  });

  scenario("authentication, resumption and the ack that it makes possible", async (stage) => {
    const [alice, bob] = await stage.pair();
    const had = await caughtUp(bob);
    for (const body of numbered(3)) alice.message(bare(bob.user), body);
    await bob.expectMessage("message 3");
    await bob.vanish();
    // It knows them all by then, and says so before it has seen what <resumed/> brings.
    const back = await rushed(stage, bob.user, [resume(bob.smId, had), sm("a", `h='${had + 3}'`)], had);
    await back.expectMessage("message 3");
    back.answers = false;
    await back.vanish();
    const third = await stage.resumed(bob, had + 3);
    await third.settle();
    assert.deepEqual(third.bodies, []);
  });

  scenario("a resumption that fails, and the new session behind it", async (stage) => {
    const [alice, bob] = await stage.pair();
    await alice.close();
    const frames = [BIND, sm("enable", "resume='true'"), AVAILABLE, message(bare(bob.user), "from the new one"), sm("r")];
    const back = await rushed(stage, alice.user, [resume(alice.smId, 0), ...frames]);
    assertFailed(await back.expect(isVerdict), "item-not-found");
    await back.expect((frame) => frame.is("iq") && frame.attrs.id === "bind" && frame.attrs.type === "result");
    await back.expect(isSm("enabled"));
    assert.equal((await back.expect(isSm("a"))).attrs.h, "2");
    await bob.expectMessage("from the new one");
  });

  scenario("a resumption that fails, and stanzas that trusted it: none of them is taken", async (stage) => {
    const [alice, bob] = await stage.pair();
    await alice.close();
    const back = await rushed(stage, alice.user, [resume(alice.smId, 0), message(bare(bob.user), "trusting")]);
    await endsWith(back, "not-authorized");
    const again = await stage.login(alice.user);
    again.message(bare(bob.user), "afterwards");
    await bob.expectMessage("afterwards");
    assert.deepEqual(bob.bodies, ["afterwards"]);
  });
});

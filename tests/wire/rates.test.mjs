// Beyond a rate: an error for each stanza, to whoever passed it, and nothing of the rest is lost.
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { sharedRelay } from "../harness/relay.mjs";
import { Wire, bare } from "../harness/wire.mjs";

const shared = sharedRelay({ before, after, afterEach });
const login = (user, options) => Wire.login(shared.relay, user, options);
const isError = (frame) => frame.attrs.type === "error";

describe("a rate", () => {
  test("is kept for presence, and messages are heard all the same", async () => {
    const [alice, bob] = [
      await login(await Wire.registered(shared.relay, "alice")),
      await login(await Wire.registered(shared.relay, "bob"), { resource: "phone" }),
    ];
    for (let n = 1; n <= 400; n += 1) alice.send(`<presence xmlns='jabber:client' id='p${n}'><priority>1</priority></presence>`);
    await alice.settle();
    const errors = alice.waiting.filter((frame) => frame.is("presence") && isError(frame));
    assert(errors.length > 0 && errors.length < 101, `${errors.length} errors`);
    for (const { attrs, xml } of errors) assert(/policy-violation/.test(xml) && /type=['"]wait/.test(xml) && attrs.id, xml);
    alice.message(bare(bob.user), "hello");
    await bob.expectMessage("hello");
    assert.equal(await alice.ask(), alice.sent);
  });

  test("of registrations is kept on each connection", async () => {
    const wire = await Wire.connect(shared.relay.url(bare("nobody")));
    await wire.open();
    const query = "<query xmlns='jabber:iq:register'><username>nobody</username><password></password></query>";
    const conditions = [];
    for (let n = 0; n < 6; n += 1) conditions.push((await wire.iq("set", query)).get("error").condition);
    assert.deepEqual(conditions, [...Array(5).fill("not-acceptable"), "policy-violation"]);
    await wire.close();
  });
});

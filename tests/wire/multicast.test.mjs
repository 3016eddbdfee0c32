// One message to several recipients (XEP-0033) on a real relay.
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { sharedRelay } from "../harness/relay.mjs";
import { Wire, bare } from "../harness/wire.mjs";

const ADDRESS = "http://jabber.org/protocol/address";
const shared = sharedRelay({ before, after, afterEach });
const login = (user, options) => Wire.login(shared.relay, user, options);
const person = async (name) => login(await Wire.registered(shared.relay, name), { resource: "phone" });

const addresses = (...named) =>
  `<addresses xmlns='${ADDRESS}'>${named.map(([type, jid]) => `<address type='${type}' jid='${jid}'/>`).join("")}</addresses>`;

describe("one message to several", () => {
  test("is announced, reaches each of them once, and comes back from who is not there", async () => {
    const [alice, bob, carol, dora] = [
      await person("alice"),
      await person("bob"),
      await person("carol"),
      await person("dora"),
    ];
    const info = await alice.iq("get", "<query xmlns='http://jabber.org/protocol/disco#info'/>", { to: "localhost" });
    assert(info.xml.includes(ADDRESS), info.xml);
    const extra = addresses(
      ["to", bare(bob.user)],
      ["cc", bare(carol.user)],
      ["bcc", bare(dora.user)],
      ["bcc", bare("nobody-at-all")],
    );
    const id = alice.message("localhost", "to all of you", { origin: true, extra });
    for (const wire of [bob, carol, dora]) {
      const message = await wire.expectMessage("to all of you");
      const seen = message.get("addresses", ADDRESS).all("address");
      const bcc = seen.filter((address) => address.attrs.type === "bcc").map((address) => address.attrs.jid);
      assert.deepEqual(bcc, wire === dora ? [bare(dora.user)] : []);
      for (const address of seen.filter(({ attrs }) => attrs.type !== "bcc")) assert.equal(address.attrs.delivered, "true");
    }
    const error = await alice.expect((frame) => frame.is("message") && frame.attrs.type === "error", "an error");
    assert.deepEqual([error.attrs.id, error.attrs.from], [id, bare("nobody-at-all")]);
    assert.equal(await alice.ask(), alice.sent);
    alice.message("localhost", "to all of you", { id, origin: true, extra });
    alice.message(bare(dora.user), "and to you");
    await dora.expectMessage("and to you");
    assert.deepEqual(dora.bodies, ["to all of you", "and to you"]);
    for (const wire of [bob, carol]) {
      await wire.settle();
      assert.deepEqual(wire.bodies, ["to all of you"]);
    }
  });

  test("is refused whole when it names somebody elsewhere", async () => {
    const [alice, bob] = [await person("alice"), await person("bob")];
    const extra = addresses(["to", bare(bob.user)], ["to", "juliet@capulet.example"]);
    alice.message("localhost", "to both", { extra });
    const error = await alice.expect((frame) => frame.is("message") && frame.attrs.type === "error", "an error");
    assert.equal(error.get("error").condition, "remote-server-not-found");
    await bob.settle();
    assert.deepEqual(bob.bodies, []);
  });
});

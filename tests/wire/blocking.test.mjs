// Blocking (XEP-0191) on a real relay: kept when it dies, told to every device that asked.
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { sharedRelay } from "../harness/relay.mjs";
import { Wire, bare } from "../harness/wire.mjs";
import { NS } from "../harness/xml.mjs";

const shared = sharedRelay({ before, after, afterEach });
const login = (user, options) => Wire.login(shared.relay, user, options);

const registered = (name) => Wire.registered(shared.relay, name);

const list = async (wire) => {
  const answer = await wire.iq("get", `<blocklist xmlns='${NS.blocking}'/>`);
  return answer.get("blocklist", NS.blocking).all("item").map((item) => item.attrs.jid);
};
const block = (wire, jid) => wire.iq("set", `<block xmlns='${NS.blocking}'><item jid='${jid}'/></block>`);

describe("blocking", () => {
  test("is announced, told to the other device, and outlives the relay", async () => {
    const [alice, user] = [await login(await registered("alice")), await registered("bob")];
    const [phone, laptop] = [await login(user, { resource: "phone" }), await login(user, { resource: "laptop" })];
    const info = await phone.iq("get", `<query xmlns='${NS.disco}'/>`, { to: "localhost" });
    assert(info.xml.includes(`var="${NS.blocking}"`) || info.xml.includes(`var='${NS.blocking}'`), info.xml);
    assert.deepEqual(await list(laptop), []);
    assert.equal((await block(phone, bare(alice.user))).attrs.type, "result");
    const push = await laptop.expect((frame) => frame.is("iq") && frame.get("block", NS.blocking), "the push");
    assert.equal(push.get("block").get("item").attrs.jid, bare(alice.user));
    await shared.relay.kill();
    await shared.relay.restart();
    const [alice2, phone2] = [await login(alice.user), await login(user, { resource: "phone" })];
    assert.deepEqual(await list(phone2), [bare(alice.user)]);
    const id = alice2.message(bare(user), "hello?");
    const error = await alice2.expect((frame) => frame.is("message") && frame.attrs.type === "error", "an error");
    assert.deepEqual([error.attrs.id, error.get("error").condition], [id, "service-unavailable"]);
    await phone2.settle();
    assert.deepEqual(phone2.bodies, []);
  });
});

// Client state indication (XEP-0352) on a real relay, over its sleep and over a resumption.
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { sharedRelay } from "../harness/relay.mjs";
import { Wire, bare } from "../harness/wire.mjs";

const CSI = "urn:xmpp:csi:0";
const shared = sharedRelay({ before, after, afterEach });
const login = (user, options) => Wire.login(shared.relay, user, options);
const show = (wire, value) => wire.send(`<presence xmlns='jabber:client'><show>${value}</show></presence>`);
const isPresence = (frame) => frame.is("presence") && frame.get("show") !== undefined;

describe("a device that nobody looks at", () => {
  test("gets messages at once and of presence the newest, when it is active again", async () => {
    const [alice, user] = [await login(await Wire.registered(shared.relay, "alice")), await Wire.registered(shared.relay, "bob")];
    const [phone, laptop] = [await login(user, { resource: "phone" }), await login(user, { resource: "laptop" })];
    assert(phone.features.get("csi", CSI), phone.features.xml);
    await phone.settle();
    phone.send(`<inactive xmlns='${CSI}'/>`);
    await phone.settle();
    for (const value of ["away", "xa", "dnd"]) show(laptop, value);
    await laptop.settle();
    alice.message(bare(user), "hello");
    await phone.expectMessage("hello");
    assert.equal(phone.waiting.filter(isPresence).length, 0);
    phone.send(`<active xmlns='${CSI}'/>`);
    await phone.settle();
    assert.deepEqual(phone.waiting.filter(isPresence).map((frame) => frame.get("show").text), ["dnd"]);
    assert.equal(await phone.ask(), phone.sent);
  });

  test("is active again when its stream is resumed", async () => {
    const user = await Wire.registered(shared.relay, "bob");
    const [phone, laptop] = [await login(user, { resource: "phone" }), await login(user, { resource: "laptop" })];
    phone.send(`<inactive xmlns='${CSI}'/>`);
    await phone.settle();
    show(laptop, "away");
    await laptop.settle();
    await phone.vanish();
    const again = await login(user, { resume: true });
    assert((await again.resume(phone)).is("resumed"));
    assert.equal((await again.expect(isPresence, "what was held")).get("show").text, "away");
    show(laptop, "dnd");
    assert.equal((await again.expect(isPresence, "what comes now")).get("show").text, "dnd");
  });
});

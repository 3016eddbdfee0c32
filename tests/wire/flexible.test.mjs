// The queue of a device as a list (XEP-0013): taken and removed one by one, over the relay's death.
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { sharedRelay } from "../harness/relay.mjs";
import { Wire, bare } from "../harness/wire.mjs";

const OFFLINE = "http://jabber.org/protocol/offline";
const ITEMS = "http://jabber.org/protocol/disco#items";
const INFO = "http://jabber.org/protocol/disco#info";
const shared = sharedRelay({ before, after, afterEach });
const login = (user, options) => Wire.login(shared.relay, user, options);

const number = async (wire) => {
  const answer = await wire.iq("get", `<query xmlns='${INFO}' node='${OFFLINE}'/>`);
  const fields = answer.get("query", INFO).get("x").all("field");
  return Number(fields.find((field) => field.attrs.var === "number_of_messages").get("value").text);
};
const list = async (wire) => {
  const answer = await wire.iq("get", `<query xmlns='${ITEMS}' node='${OFFLINE}'/>`);
  return answer.get("query", ITEMS).all("item").map((item) => item.attrs);
};
const act = (wire, action, nodes) => {
  const items = nodes.map((node) => `<item action='${action}' node='${node}'/>`).join("");
  return wire.iq(action === "view" ? "get" : "set", `<offline xmlns='${OFFLINE}'>${items}</offline>`);
};

describe("the list of what waits for a device", () => {
  test("is told, viewed and emptied from anywhere, and holds what was left", async () => {
    const [alice, user] = [
      await login(await Wire.registered(shared.relay, "alice"), { resource: "desk" }),
      await Wire.registered(shared.relay, "bob"),
    ];
    await (await login(user, { resource: "phone" })).close();
    for (const body of ["one", "two", "three", "four"]) alice.message(bare(user), body, { origin: true });
    assert.equal(await alice.ask(), alice.sent);
    const phone = await login(user, { resource: "phone", presence: false });
    const info = await phone.iq("get", `<query xmlns='${INFO}'/>`, { to: "localhost" });
    assert(info.xml.includes(OFFLINE), info.xml);
    assert.equal(await number(phone), 4);
    const items = await list(phone);
    assert.deepEqual(
      items.map(({ jid, name }) => [jid, name]),
      Array(4).fill([bare(user), `${bare(alice.user)}/desk`]),
    );
    const nodes = items.map(({ node }) => node);
    assert.equal((await act(phone, "view", [nodes[2]])).attrs.type, "result");
    const message = await phone.expectMessage("three");
    assert.equal(message.get("offline", OFFLINE).get("item").attrs.node, nodes[2]);
    assert.equal((await act(phone, "remove", [nodes[2]])).attrs.type, "result");
    phone.send("<presence xmlns='jabber:client'/>");
    alice.message(bare(user), "live");
    await phone.expectMessage("live");
    assert.deepEqual(phone.bodies, ["three", "live"], "the rest does not come by itself");
    phone.ack();
    await phone.settle();
    await shared.relay.kill();
    await shared.relay.restart();
    const again = await login(user, { resource: "phone" });
    await again.expectMessage("four");
    await again.settle();
    assert.deepEqual(again.bodies, ["one", "two", "four"], "what was left, once, and nothing that was confirmed");
  });
});

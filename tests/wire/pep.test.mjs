// What an account publishes (XEP-0163), on a real relay: on disk, told to the devices that want it,
// and found by a library that nobody here wrote.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, afterEach, before, describe, test } from "node:test";
import { createClient } from "stanza";
import "../harness/foreign.mjs";
import { sharedRelay } from "../harness/relay.mjs";
import { until } from "../harness/wait.mjs";
import { Wire, bare, passwordOf } from "../harness/wire.mjs";
import { NS } from "../harness/xml.mjs";

const shared = sharedRelay({ before, after, afterEach });
const registered = (name) => Wire.registered(shared.relay, name);
const restarted = async () => {
  await shared.relay.kill();
  await shared.relay.restart();
};

const AVATAR = "urn:xmpp:avatar:data";
// As long as an avatar gets, in base64.
const AVATAR_BYTES = 190_000;

const pubsub = (wire, type, inside) => wire.iq(type, `<pubsub xmlns='${NS.pubsub}'>${inside}</pubsub>`);
const publish = async (wire, node, id, payload) => {
  const answer = await pubsub(wire, "set", `<publish node='${node}'><item id='${id}'>${payload}</item></publish>`);
  assert.equal(answer.attrs.type, "result", answer.xml);
};
const items = async (wire, node) => {
  const answer = await pubsub(wire, "get", `<items node='${node}'/>`);
  return answer.get("pubsub", NS.pubsub).get("items").all("item");
};
const displayed = (by, place) =>
  `<displayed xmlns='${NS.displayed}'><stanza-id xmlns='${NS.sid}' by='${by}' id='${place}'/></displayed>`;

/** A device whose client wants the events of these nodes, and says so when it is asked. */
async function interested(user, resource, nodes) {
  const features = [NS.disco, ...nodes.map((node) => `${node}+notify`)].sort();
  const text = ["client/pc//", ...features].map((part) => `${part}<`).join("");
  const ver = createHash("sha1").update(text).digest("base64");
  const wire = await Wire.login(shared.relay, user, { resource, presence: false });
  wire.questions = 0;
  wire.onFrame = (frame) => {
    const query = frame.is("iq") && frame.attrs.type === "get" && frame.get("query", NS.disco);
    if (!query) return false;
    assert.equal(query.attrs.node, `client#${ver}`);
    wire.questions += 1;
    const all = features.map((feature) => `<feature var='${feature}'/>`).join("");
    wire.send(
      `<iq xmlns='jabber:client' type='result' id='${frame.attrs.id}' to='${frame.attrs.from}'>` +
        `<query xmlns='${NS.disco}'><identity category='client' type='pc'/>${all}</query></iq>`,
    );
    return true;
  };
  wire.send(`<presence xmlns='jabber:client'><c xmlns='${NS.caps}' hash='sha-1' node='client' ver='${ver}'/></presence>`);
  await wire.settle();
  await wire.settle();
  return wire;
}

const event = (wire, node) =>
  wire.expect((frame) => frame.get("event", NS.pubsubEvent)?.get("items")?.attrs.node === node, `an event of ${node}`);

describe("what an account publishes", () => {
  test("is told to the devices that want it, and outlives the relay", async () => {
    const user = await registered("alice");
    const [phone, laptop] = [await interested(user, "phone", ["n"]), await interested(user, "laptop", ["n"])];
    assert.deepEqual([phone.questions, laptop.questions], [1, 0], "a client is asked once");
    await publish(phone, "n", "one", "<p xmlns='t'>1</p>");
    for (const wire of [phone, laptop]) {
      const item = (await event(wire, "n")).get("event").get("items").get("item");
      assert.deepEqual([item.attrs.id, item.get("p").text], ["one", "1"]);
    }
    await restarted();
    const again = await interested(user, "phone", ["n"]);
    assert.equal(again.questions, 0, "and not again after a crash");
    const last = await event(again, "n");
    assert(last.get("delay", NS.delay), last.xml);
    assert.equal((await items(again, "n"))[0].get("p").text, "1");
  });

  test("may be as long as an avatar, and is read whole", async () => {
    const wire = await Wire.login(shared.relay, await registered("alice"));
    const data = "QUJD".repeat(AVATAR_BYTES / 4);
    await publish(wire, AVATAR, "hash", `<data xmlns='${AVATAR}'>${data}</data>`);
    await wire.iq("set", `<vCard xmlns='vcard-temp'><PHOTO><BINVAL>${data}</BINVAL></PHOTO></vCard>`);
    await restarted();
    const again = await Wire.login(shared.relay, wire.user);
    assert.equal((await items(again, AVATAR))[0].get("data").text, data);
    const card = await again.iq("get", "<vCard xmlns='vcard-temp'/>");
    assert.equal(card.get("vCard").get("PHOTO").get("BINVAL").text, data);
  });

  test("is read by the hundred", async () => {
    const wire = await Wire.login(shared.relay, await registered("alice"));
    const names = Array.from({ length: 150 }, (_, number) => `chat-${number}@localhost`);
    for (const name of names) await publish(wire, NS.displayed, name, displayed("room@elsewhere", name));
    assert.deepEqual((await items(wire, NS.displayed)).map((item) => item.attrs.id), names);
    await restarted();
    const again = await Wire.login(shared.relay, wire.user);
    assert.deepEqual((await items(again, NS.displayed)).map((item) => item.attrs.id), names);
    const owner = `<pubsub xmlns='${NS.pubsub}#owner'><delete node='${NS.displayed}'/></pubsub>`;
    assert.equal((await again.iq("set", owner)).attrs.type, "result");
    const gone = await pubsub(again, "get", `<items node='${NS.displayed}'/>`);
    assert.equal(gone.get("error").condition, "item-not-found");
  });

  test("read on one device is read on the other, and the sender learns of it in the same message", async () => {
    const [user, other] = [await registered("alice"), await registered("bob")];
    const [phone, laptop] = [await interested(user, "phone", [NS.displayed]), await interested(user, "laptop", [NS.displayed])];
    const bob = await Wire.login(shared.relay, other);
    bob.message(bare(user), "hello", { id: "m" });
    const message = await phone.expectMessage("hello");
    const place = message.get("stanza-id", NS.sid).attrs.id;
    const marker = `<displayed xmlns='${NS.markers}' id='m'/>${displayed(bare(user), place)}`;
    phone.message(bare(other), null, { id: "marker", extra: marker });
    const item = (await event(laptop, NS.displayed)).get("event").get("items").get("item");
    assert.equal(item.attrs.id, bare(other));
    assert.equal(item.get("displayed").get("stanza-id").attrs.id, place);
    const seen = await bob.expect((frame) => frame.attrs.id === "marker", "the marker");
    assert(seen.get("displayed", NS.markers) && !seen.get("displayed", NS.displayed), seen.xml);
  });

  test("is what stanza.js thinks it is", async () => {
    const user = await registered("alice");
    const wire = await interested(user, "wire", ["http://jabber.org/protocol/nick"]);
    const client = createClient({
      jid: bare(user),
      password: passwordOf(user),
      resource: "stanza",
      transports: { websocket: shared.relay.url(bare(user)), bosh: false },
    });
    try {
      const nicks = [];
      client.on("nick", ({ nick }) => nicks.push(nick));
      client.on("session:started", () => {
        client.updateCaps();
        client.sendPresence({ legacyCapabilities: client.disco.getCaps() });
      });
      client.connect();
      await until("stanza.js to be online", () => client.sm.started, { timeoutMs: 10_000 });
      await client.publishNick("Alice");
      await until("the event", () => nicks.length === 1);
      assert.equal((await event(wire, "http://jabber.org/protocol/nick")).get("event").get("items").get("item").get("nick").text, "Alice");
      await publish(wire, "http://jabber.org/protocol/nick", "current", "<nick xmlns='http://jabber.org/protocol/nick'>Lis</nick>");
      await until("the other event", () => nicks.length === 2);
      assert.deepEqual(nicks, ["Alice", "Lis"]);
      const { items: read } = await client.getItems(bare(user), "http://jabber.org/protocol/nick");
      assert.deepEqual(read.map(({ content }) => content.nick), ["Lis"]);
    } finally {
      await client.disconnect();
    }
  });
});

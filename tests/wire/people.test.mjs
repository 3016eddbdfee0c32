// Rosters, subscriptions and presence between accounts (RFC 6121) on a real relay, whatever dies
// meanwhile.
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { sharedRelay } from "../harness/relay.mjs";
import { Wire, bare } from "../harness/wire.mjs";
import { NS } from "../harness/xml.mjs";

const shared = sharedRelay({ before, after, afterEach });
const login = (user, options) => Wire.login(shared.relay, user, options);
const registered = (name) => Wire.registered(shared.relay, name);

const AVAILABLE = "<presence xmlns='jabber:client'/>";
const subscription = (wire, type, to) => wire.send(`<presence xmlns='jabber:client' type='${type}' to='${to}'/>`);

/** The whole roster as `jid subscription ask`, and its version; `undefined` if `ver` is the newest. */
async function roster(wire, ver = "") {
  const answer = await wire.iq("get", `<query xmlns='${NS.roster}' ver='${ver}'/>`);
  const query = answer.get("query", NS.roster);
  if (query === undefined) return undefined;
  const shown = ({ attrs }) => [attrs.jid, attrs.subscription, attrs.ask].filter(Boolean).join(" ");
  return { ver: query.attrs.ver, items: query.all("item").map(shown) };
}

const presenceOf = (jid, type) => (frame) =>
  frame.is("presence") && frame.attrs.type === type && (frame.attrs.from ?? "").startsWith(jid);
const hears = (wire, jid, type) => wire.expect(presenceOf(jid, type), `${type ?? "available"} from ${jid}`, 10_000);

async function both() {
  const wires = [];
  for (const name of ["alice", "bob"]) {
    const wire = await login(await registered(name), { resource: "one" });
    await roster(wire);
    wires.push(wire);
  }
  return wires;
}

/** Each sees the other. */
async function friends() {
  const [alice, bob] = await both();
  for (const [asks, grants] of [[alice, bob], [bob, alice]]) {
    subscription(asks, "subscribe", bare(grants.user));
    await hears(grants, bare(asks.user), "subscribe");
    subscription(grants, "subscribed", bare(asks.user));
    await hears(asks, grants.jid, undefined);
  }
  await Promise.all([alice.settle(), bob.settle()]);
  [alice, bob].forEach((wire) => wire.drop());
  return [alice, bob];
}

describe("people", () => {
  test("a request is granted, each device is told, and all of it outlives the relay", async () => {
    const [alice, bob] = await friends();
    const { items, ver } = await roster(alice);
    assert.deepEqual(items, [`${bare(bob.user)} both`]);
    await shared.relay.kill();
    await shared.relay.restart();
    const [alice2, bob2] = [await login(alice.user), await login(bob.user)];
    await Promise.all([hears(alice2, bob2.jid, undefined), hears(bob2, alice2.jid, undefined)]);
    assert.equal(await roster(alice2, ver), undefined, "it has not changed");
    assert.deepEqual((await roster(bob2)).items, [`${bare(alice.user)} both`]);
  });

  test("a request to somebody who is away is there when he comes, though the relay died with it", async () => {
    const [alice, user] = [await login(await registered("alice")), await registered("bob")];
    await roster(alice);
    subscription(alice, "subscribe", bare(user));
    await alice.settle();
    await shared.relay.kill();
    await shared.relay.restart();
    // Hers may not have handed it over when the relay died: she wakes it.
    const again = await login(alice.user);
    await roster(again);
    const bob = await login(user);
    await hears(bob, bare(alice.user), "subscribe");
    subscription(bob, "unsubscribed", bare(alice.user));
    await hears(again, bare(user), "unsubscribed");
    assert.deepEqual((await roster(again)).items, [`${bare(user)} none`]);
  });

  test("a session that is resumed learns who left meanwhile, and hears of nobody twice", async () => {
    const [alice, bob] = await friends();
    await alice.vanish();
    bob.send("<presence xmlns='jabber:client'><show>away</show></presence>");
    await bob.close();
    const again = await login(alice.user, { resume: true });
    assert.equal((await again.resume(alice)).name, "resumed");
    await hears(again, bob.jid, "unavailable");
    await again.settle();
    const told = again.waiting.filter((frame) => frame.is("presence") && frame.attrs.from === bob.jid);
    assert(told.every(({ attrs }) => attrs.type === undefined), told.map(({ xml }) => xml).join("\n"));
  });

  test("a contact that is removed is seen to leave, and sees nobody any more", async () => {
    const [alice, bob] = await friends();
    const answer = await alice.iq(
      "set",
      `<query xmlns='${NS.roster}'><item jid='${bare(bob.user)}' subscription='remove'/></query>`,
    );
    assert.equal(answer.attrs.type, "result", answer.xml);
    await hears(bob, alice.jid, "unavailable");
    alice.send(AVAILABLE);
    await alice.settle();
    assert.deepEqual((await roster(bob)).items, [`${bare(alice.user)} none`]);
    assert(!bob.waiting.some(presenceOf(alice.jid, undefined)));
  });

  test("one client asks the other, through their mailboxes", async () => {
    const [alice, bob] = await both();
    const asked = bob.expect((frame) => frame.is("iq") && frame.attrs.type === "get", "the request").then((frame) => {
      const { id, from } = frame.attrs;
      bob.send(`<iq xmlns='jabber:client' type='result' id='${id}' to='${from}'><query xmlns='jabber:iq:version'/></iq>`);
    });
    const answer = await alice.iq("get", "<query xmlns='jabber:iq:version'/>", { to: bob.jid });
    await asked;
    assert.deepEqual([answer.attrs.type, answer.attrs.from], ["result", bob.jid], answer.xml);
    const gone = await alice.iq("get", "<query xmlns='jabber:iq:version'/>", { to: `${bare(bob.user)}/gone` });
    assert.equal(gone.get("error").condition, "service-unavailable", gone.xml);
  });
});

// An authenticated session with everything in one request: XEP-0388, XEP-0386, XEP-0484.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, afterEach, before, describe, test } from "node:test";
import { client as xmppClient, xml } from "@xmpp/client";
import "../harness/foreign.mjs"; // gives Node the WebSocket of a browser
import { DOMAIN } from "../harness/env.mjs";
import { sharedRelay } from "../harness/relay.mjs";
import { until } from "../harness/wait.mjs";
import { Wire, bare, passwordOf } from "../harness/wire.mjs";
import { NS, escape } from "../harness/xml.mjs";

const shared = sharedRelay({ before, after, afterEach });

const BIND =
  `<bind xmlns='${NS.bind2}'><tag>Wire</tag>` +
  `<enable xmlns='${NS.sm}' resume='true'/><enable xmlns='${NS.carbons}'/></bind>`;
const REQUEST_TOKEN = `<request-token xmlns='${NS.fast}' mechanism='HT-SHA-256-NONE'/>`;
const FAST = `<fast xmlns='${NS.fast}'/>`;
const PRESENCE = "<presence xmlns='jabber:client'/>";
const agent = (id) => `<user-agent id='${id}'><software>Wire</software><device>Bench</device></user-agent>`;
const resume = ({ smId, handled }) => `<resume xmlns='${NS.sm}' previd='${escape(smId)}' h='${handled}'/>`;
const tokenIn = (success) => success.get("token", NS.fast)?.attrs.token;

/** A connection with an open stream. */
async function opened(user, { hint = true } = {}) {
  const wire = await Wire.connect(shared.relay.url(hint ? bare(user) : undefined));
  await wire.open({ from: bare(user) });
  return Object.assign(wire, { user, account: bare(user) });
}

/** One that has authenticated, and `<success/>`. */
async function login(user, { hint, ...options }) {
  const wire = await opened(user, { hint });
  return [wire, await wire.authenticate2(user, options)];
}

for (const hint of [true, false]) {
  describe(hint ? "straight to the mailbox" : "through the lobby", () => {
    test("one request begins a session, and the next resumes it", async () => {
      const [user, friend] = [await Wire.registered(shared.relay, "bob"), await Wire.registered(shared.relay, "alice")];
      const alice = await Wire.login(shared.relay, friend);
      const id = randomUUID();
      const wishes = agent(id) + BIND;
      const [wire, success] = await login(user, { hint, wishes });
      assert.match(wire.jid, new RegExp(`^${bare(user)}/Wire/[\\w-]{16}$`));
      assert(!success.xml.includes(id));
      assert.notEqual(success.get("bound", NS.bind2).get("metadata", NS.mam), undefined);
      const bound = [NS.bind, NS.sm];
      assert(wire.features.children.every(({ ns }) => !bound.includes(ns)), wire.features.xml);
      wire.send(PRESENCE);
      alice.message(bare(user), "one");
      await wire.expectMessage("one");
      await wire.vanish();
      alice.message(bare(user), "two");
      await alice.settle();

      await shared.relay.kill();
      await shared.relay.restart();
      // Hers may not have handed it over when the relay died: she wakes it.
      await Wire.login(shared.relay, friend);
      const again = await opened(user, { hint });
      again.handled = wire.handled;
      const back = await again.authenticate2(user, { wishes: wishes + resume(wire) });
      assert.equal(back.get("resumed", NS.sm).attrs.previd, wire.smId);
      assert.equal(back.get("bound", NS.bind2), undefined);
      assert.equal(again.jid, wire.jid);
      await again.expectMessage("two");
      await again.close();

      const [third, anew] = await login(user, { hint, wishes: wishes + resume(wire) });
      assert.equal(anew.get("failed", NS.sm).condition, "item-not-found");
      assert.notEqual(anew.get("bound", NS.bind2).get("enabled", NS.sm), undefined);
      assert.equal(third.jid, wire.jid, "the same user agent is the same device");
      await third.close();
    });

    test("a token opens the account in one round trip until it is forgotten", async () => {
      const user = await Wire.registered(shared.relay, "bob");
      const wishes = agent(randomUUID()) + BIND;
      const [first, success] = await login(user, { hint, wishes: wishes + REQUEST_TOKEN });
      const { token, expiry } = success.get("token", NS.fast).attrs;
      assert(Date.parse(expiry) > Date.now() + 20 * 86_400_000, expiry);
      await first.close();
      await shared.relay.kill();
      await shared.relay.restart();
      const [second, answer] = await login(user, { hint, token, wishes: wishes + FAST });
      assert.equal(second.jid, first.jid);
      assert.equal(tokenIn(answer), undefined, "it is new enough");
      const [third] = await login(user, { hint, token, wishes: `${wishes}<fast xmlns='${NS.fast}' invalidate='true'/>` });
      await third.close();
      const late = await opened(user, { hint });
      await assert.rejects(late.authenticate2(user, { token, wishes: wishes + FAST }), { condition: "credentials-expired" });
      await late.authenticate2(user, { wishes: wishes + REQUEST_TOKEN });
      assert.equal(late.jid, first.jid, "and the password does on the same stream");
      await late.close();
    });

    test("the same user agent takes over, and others stay", async () => {
      const user = await Wire.registered(shared.relay, "bob");
      const [phone, laptop] = [randomUUID(), randomUUID()];
      const [first] = await login(user, { hint, wishes: agent(phone) + BIND });
      const [other] = await login(user, { hint, wishes: agent(laptop) + BIND });
      const [second] = await login(user, { hint, wishes: agent(phone) + BIND });
      assert.equal((await first.expect((frame) => frame.is("error", NS.streams))).condition, "conflict");
      await first.closed;
      await Promise.all([second.settle(), other.settle()]);
      await Promise.all([second.close(), other.close()]);
    });

    test("nothing else may be said during an exchange", async () => {
      const user = await Wire.registered(shared.relay, "bob");
      const wire = await opened(user, { hint });
      const first = Buffer.from(`n,,n=${user},r=nonce`).toString("base64");
      wire.send(
        `<authenticate xmlns='${NS.sasl2}' mechanism='SCRAM-SHA-256'><initial-response>${first}</initial-response></authenticate>`,
      );
      await wire.expect((frame) => frame.is("challenge", NS.sasl2));
      wire.send("<message xmlns='jabber:client' to='a@localhost'><body>early</body></message>");
      assert.equal((await wire.expect((frame) => frame.is("error", NS.streams))).condition, "not-authorized");
      await wire.closed;
    });
  });
}

test("who asks for nothing beside it binds a resource without a restart", async () => {
  const user = await Wire.registered(shared.relay, "bob");
  const wire = await opened(user);
  const success = await wire.authenticate2(user, { wishes: agent(randomUUID()) });
  assert.equal(wire.jid, bare(user));
  assert.equal(success.get("bound", NS.bind2), undefined);
  await wire.bind("wanted");
  assert.equal(wire.jid, `${bare(user)}/wanted`);
  await wire.close();
});

test("what is refused is refused by name, and not for ever", async () => {
  const user = await Wire.registered(shared.relay, "bob");
  const wire = await opened(user);
  const refused = (options, condition) => assert.rejects(wire.authenticate2(user, options), { condition });
  await refused({ password: "wrong" }, "not-authorized");
  await refused({ token: "wrong", wishes: agent(randomUUID()) + FAST }, "credentials-expired");
  await refused({ token: "wrong", wishes: FAST }, "not-authorized");
  await refused({ wishes: agent("not-a-uuid") }, "malformed-request");
  await refused({ password: "wrong" }, "not-authorized");
  assert.equal((await wire.expect((frame) => frame.is("error", NS.streams))).condition, "policy-violation");
  await wire.closed;
});

for (const hint of [true, false]) {
  test(`@xmpp/client signs in this way ${hint ? "at its mailbox" : "through the lobby"} and comes back with a token`, { timeout: 30_000 }, async (t) => {
    const user = await Wire.registered(shared.relay, "xmppjs");
    const said = [];
    const entity = xmppClient({
      service: shared.relay.url(hint ? bare(user) : undefined),
      domain: DOMAIN,
      username: user,
      password: passwordOf(user),
      resource: "xmppjs",
      userAgent: xml("user-agent", { id: randomUUID() }),
    });
    t.after(() => entity.stop().catch(() => {}));
    const errors = [];
    entity.on("error", (error) => errors.push(error));
    entity.on("send", (element) => said.push(element));
    entity.reconnect.delay = 100;
    await entity.start();
    await until("stream management", () => entity.streamManagement.enabled);
    const jid = entity.jid.toString();
    assert.match(jid, new RegExp(`^${bare(user)}/xmppjs/`));
    const authenticates = () => said.filter((element) => element.is("authenticate", NS.sasl2));
    assert.equal(authenticates()[0].attrs.mechanism, "SCRAM-SHA-1");
    assert(authenticates()[0].getChild("request-token", NS.fast), "it asked for a token");
    await until("the token", async () => (await entity.fast.fetchToken()) !== undefined);

    entity.socket.socket.terminate();
    await until("the next authentication", () => authenticates().length === 2);
    await until("the session", () => entity.streamManagement.enabled, { timeoutMs: 10_000 });
    const second = authenticates()[1];
    assert.equal(second.attrs.mechanism, "HT-SHA-256-NONE");
    assert(second.getChild("fast", NS.fast));
    assert(second.getChild("resume", NS.sm), "and it goes on with its stream");
    assert.equal(entity.jid.toString(), jid);
    assert.equal(said.filter((element) => element.is("auth", NS.sasl)).length, 0);
    assert.deepEqual(errors.filter((error) => error.name === "SASLError"), []);
  });
}

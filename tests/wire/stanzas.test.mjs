// RFC 6120 §8, §10; RFC 6121; XEP-0030, 0077, 0199, 0280, 0359: what the relay does with a stanza.
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { sharedRelay } from "../harness/relay.mjs";
import { SaslFailure, Wire, bare, someone } from "../harness/wire.mjs";
import { NS } from "../harness/xml.mjs";

const shared = sharedRelay({ before, after, afterEach });
const login = (user, options) => Wire.login(shared.relay, user, options);

const registered = (name) => Wire.registered(shared.relay, name);

async function pair() {
  return [await login(await registered("alice")), await login(await registered("bob"))];
}

describe("an account", () => {
  for (const hint of [true, false]) {
    const where = hint ? "in its mailbox" : "through the lobby";
    test(`is created and used ${where}`, async () => {
      const user = someone("new");
      assert.equal((await Wire.register(shared.relay, user, { hint })).attrs.type, "result");
      const wire = await login(user, { hint, resource: "desk" });
      assert.equal(wire.jid, `${bare(user)}/desk`);
      await wire.close();
    });

    test(`is not created twice ${where}`, async () => {
      const user = await registered("taken");
      const answer = await Wire.register(shared.relay, user, { hint, password: "another" });
      assert.equal(answer.attrs.type, "error");
      assert.equal(answer.get("error").condition, "conflict", answer.xml);
      await (await login(user, { hint })).close();
      await assert.rejects(login(user, { hint, password: "another" }), SaslFailure);
    });

    for (const mechanism of ["SCRAM-SHA-256", "SCRAM-SHA-1"]) {
      test(`is proved by ${mechanism} with a password in any script ${where}`, async () => {
        const [user, password] = [someone("scram"), "ключ 口令 é"];
        await Wire.register(shared.relay, user, { password });
        await (await login(user, { hint, password, mechanism })).close();
        await assert.rejects(login(user, { hint, password: "ключ", mechanism }), { condition: "not-authorized" });
      });
    }

    test(`that does not exist fails like a wrong password ${where}`, async () => {
      await assert.rejects(login(someone("nobody"), { hint }), { condition: "not-authorized" });
    });
  }

  test("is one account however its name is written", async () => {
    const user = someone("mixed");
    await Wire.register(shared.relay, user.toUpperCase());
    await (await login(user, { password: `pass word of ${user.toUpperCase()}` })).close();
  });

  test("cannot be reached by the hint of another", async () => {
    const [ann, eve] = [await registered("ann"), await registered("eve")];
    const wire = await Wire.connect(shared.relay.url(bare(ann)));
    await wire.open();
    await assert.rejects(wire.authenticate(eve, `pass word of ${eve}`));
  });
});

describe("a message", () => {
  test("arrives with the sender's true address, whatever it claimed", async () => {
    const [alice, bob] = await pair();
    alice.send(
      `<message xmlns='jabber:client' from='admin@localhost/x' to='${bare(bob.user)}' type='chat'><body>I am root</body></message>`,
    );
    const shown = bob.expectMessage("I am root").then((message) => message.attrs.from);
    const refused = alice.expect((frame) => frame.is("error", NS.streams)).then(() => alice.jid);
    assert.equal(await Promise.any([shown, refused]), alice.jid);
    await Promise.allSettled([shown, refused]);
  });

  test("arrives with its recipient, type, id and payload unchanged", async () => {
    const [alice, bob] = await pair();
    const extra = "<x xmlns='urn:example:unknown' a='1'><y>&lt;&amp;&gt;</y></x>";
    const id = alice.message(bare(bob.user), "a < b & c 😀", { extra });
    const message = await bob.expectMessage("a < b & c 😀");
    assert.equal(message.attrs.to, bare(bob.user));
    assert.equal(message.attrs.type, "chat");
    assert.equal(message.attrs.id, id);
    const unknown = message.get("x", "urn:example:unknown");
    assert.equal(unknown.attrs.a, "1");
    assert.equal(unknown.get("y").text, "<&>");
  });

  test("loses every stanza-id that its sender forged", async () => {
    const [alice, bob] = await pair();
    const forged = `<stanza-id xmlns='${NS.sid}' by='${bare(bob.user)}' id='forged'/>`;
    alice.message(bare(bob.user), "hello", { extra: forged + forged });
    const message = await bob.expectMessage("hello");
    const own = message.all("stanza-id", NS.sid).filter((child) => child.attrs.by === bare(bob.user));
    assert.equal(own.length, 1, message.xml);
    assert.notEqual(own[0].attrs.id, "forged");
  });

  test("to nobody comes back as an error that carries its id", async () => {
    const [alice] = await pair();
    for (const to of [bare(someone("nobody")), "bob@elsewhere.example"]) {
      const id = alice.message(to, "anyone?");
      const error = await alice.expect((frame) => frame.is("message") && frame.attrs.id === id, "an error");
      assert.equal(error.attrs.type, "error");
      assert.equal(error.attrs.from, to);
      assert.match(error.get("error").condition, /service-unavailable|item-not-found|remote-server-not-found/);
    }
  });

  test("that is itself an error is never answered", async () => {
    const [alice] = await pair();
    alice.message(bare(someone("nobody")), "x", { type: "error" });
    await alice.settle();
    assert(!alice.waiting.some((frame) => frame.is("message")));
  });

  test("keeps its order among others to bare and full addresses", async () => {
    const [alice, bob] = await pair();
    const bodies = Array.from({ length: 20 }, (_, i) => `n ${i}`);
    bodies.forEach((body, i) => alice.message(i % 2 ? bob.jid : bare(bob.user), body));
    await bob.expectMessage("n 19");
    await bob.expectMessage("n 18");
    assert.deepEqual(bob.bodies, bodies);
  });
});

describe("carbons", () => {
  test("show a second device what the first one sends and receives, once", async () => {
    const [alice, bob] = await pair();
    const desk = await login(alice.user, { resource: "desk" });
    assert.equal((await desk.iq("set", `<enable xmlns='${NS.carbons}'/>`)).attrs.type, "result");
    alice.message(bare(bob.user), "from the phone", { origin: true });
    const isCarbon = (kind, body) => (frame) => inner(frame, kind)?.body === body;
    const sent = await desk.expect(isCarbon("sent", "from the phone"), "a carbon of what was sent");
    assert.equal(sent.attrs.from, bare(alice.user));
    bob.message(alice.jid, "to the phone", { origin: true });
    await alice.expectMessage("to the phone");
    const received = await desk.expect(
      (frame) => isCarbon("received", "to the phone")(frame) || frame.body === "to the phone",
      "a copy of what was received",
    );
    assert.equal(received.attrs.from.split("/")[0], inner(received, "received") ? bare(alice.user) : bare(bob.user));
    await alice.settle();
    await desk.settle();
    assert(!alice.waiting.some((frame) => inner(frame, "sent")), "the sender got its own carbon");
    assert(!desk.waiting.some((frame) => isCarbon("sent", "from the phone")(frame)), "the carbon came twice");
  });

  test("are not sent to a device that did not ask for them", async () => {
    const [alice, bob] = await pair();
    const desk = await login(alice.user, { resource: "desk" });
    alice.message(bare(bob.user), "quietly", { origin: true });
    await bob.expectMessage("quietly");
    await desk.settle();
    assert(!desk.waiting.some((frame) => inner(frame, "sent")));
  });

  function inner(frame, kind) {
    return frame.get(kind, NS.carbons)?.get("forwarded", NS.forward)?.get("message", NS.client);
  }
});

describe("an iq", () => {
  test("ping is answered by the relay, the domain and the own account", async () => {
    const [alice] = await pair();
    for (const to of [undefined, "localhost", bare(alice.user)]) {
      const answer = await alice.iq("get", `<ping xmlns='${NS.ping}'/>`, { to });
      assert.equal(answer.attrs.type, "result", answer.xml);
    }
  });

  test("asks what the relay can do, and the answer names what it can", async () => {
    const [alice] = await pair();
    const answer = await alice.iq("get", `<query xmlns='${NS.disco}'/>`, { to: "localhost" });
    const features = answer.get("query", NS.disco).all("feature").map((feature) => feature.attrs.var);
    assert(features.includes(NS.disco) && features.includes(NS.ping), answer.xml);
    const own = await alice.iq("get", `<query xmlns='${NS.disco}'/>`, { to: bare(alice.user) });
    const ownFeatures = own.get("query", NS.disco).all("feature").map((feature) => feature.attrs.var);
    assert([...features, ...ownFeatures].includes(NS.carbons), answer.xml + own.xml);
  });

  test("reads the roster", async () => {
    const [alice] = await pair();
    const answer = await alice.iq("get", `<query xmlns='${NS.roster}'/>`);
    assert.equal(answer.attrs.type, "result");
    assert(answer.get("query", NS.roster), answer.xml);
  });

  test("that nobody understands is answered with an error, to whomever it went", async () => {
    const [alice, bob] = await pair();
    for (const to of [undefined, "localhost", bare(bob.user), `${bare(bob.user)}/nowhere`]) {
      const answer = await alice.iq("get", "<query xmlns='urn:example:unknown'/>", { to });
      assert.equal(answer.attrs.type, "error", answer.xml);
    }
  });
});

// RFC 6121 §8.5, RFC 6120 §8.2.3: every request is answered exactly once, an answer never, and what
// is for a resource that is there is handed to it.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, afterEach, before, describe } from "node:test";
import { bare } from "../harness/wire.mjs";
import { NS } from "../harness/xml.mjs";
import { WIDTH, isError, scenarios } from "./stage.mjs";
import { SITUATIONS, assertRefused, errorsOf, stranger, townOf } from "./town.mjs";

const scenario = scenarios({ before, after, afterEach });
const QUERY = "<query xmlns='urn:example:unknown'/>";
const CAUSE = `<error type='cancel'><item-not-found xmlns='${NS.stanzaErrors}'/></error>`;

function ask(wire, to, type, payload = QUERY) {
  const id = randomUUID();
  const cause = type === "error" ? CAUSE : "";
  wire.send(`<iq xmlns='jabber:client' to='${to}' type='${type}' id='${id}'>${payload}${cause}</iq>`);
  return id;
}

const isIq = (id) => (frame) => frame.is("iq") && frame.attrs.id === id;

/** A request that the server is to refuse, and nobody to see. */
async function assertRefusedUnseen(town, address, type) {
  const id = ask(town.alice, address, type);
  await town.alice.expect(isIq(id), "the answer").then((answer) => assertRefused([answer], address));
  await town.arrived();
  assert.deepEqual(town.have(isIq(id)), []);
  assert.deepEqual(town.alice.waiting.filter(isIq(id)), [], "it was answered twice");
}

/** An answer to nothing: it is not answered, and only `whom` see it. */
async function assertSilent(town, address, type, whom) {
  const id = ask(town.alice, address, type);
  await town.arrived();
  assert.deepEqual(town.have(isIq(id)), whom);
  assert.deepEqual(town.alice.waiting.filter(isIq(id)), []);
}

/** A request that comes to this device, whose answer comes back. */
async function assertAnswered(town, name, type, answer) {
  const { wire } = town.devices.get(name);
  const address = `${bare(town.user)}/${name}`;
  const id = ask(town.alice, address, type);
  const request = await wire.expect(isIq(id), "the request");
  assert.deepEqual([request.attrs.from, request.attrs.to, request.attrs.type], [town.alice.jid, address, type]);
  assert(request.get("query", "urn:example:unknown"), request.xml);
  const cause = answer === "error" ? CAUSE : "<answer xmlns='urn:example:unknown'/>";
  wire.send(`<iq xmlns='jabber:client' to='${town.alice.jid}' type='${answer}' id='${id}'>${cause}</iq>`);
  const told = await town.alice.expect(isIq(id), "the answer");
  assert.deepEqual([told.attrs.from, told.attrs.type], [address, answer]);
  await town.arrived();
  assert.deepEqual(town.have(isIq(id)), [name]);
  assert.deepEqual(town.alice.waiting.filter(isIq(id)), [], "it was answered twice");
}

for (const [situation, states] of Object.entries(SITUATIONS)) {
  const here = typeof states.phone === "number";
  describe(`when ${situation}, an iq`, { concurrency: WIDTH }, () => {
    for (const type of ["get", "set"]) {
      for (const target of ["bare", "nowhere"]) {
        const where = target === "bare" ? "to the account that nobody understands" : "to a resource that is not there";
        scenario(`of type ${type} ${where} is refused by the server`, async (stage) => {
          const town = await townOf(stage, states);
          await assertRefusedUnseen(town, town.address(target), type);
        });
      }
      if (here) {
        scenario(`of type ${type} to a resource that is there is answered by that one`, async (stage) => {
          await assertAnswered(await townOf(stage, states), "phone", type, "result");
        });
      }
      if (Object.hasOwn(states, "watch")) {
        scenario(`of type ${type} to a resource that is there and negative is answered by that one`, async (stage) => {
          await assertAnswered(await townOf(stage, states), "watch", type, "result");
        });
      }
    }
    for (const type of ["result", "error"]) {
      for (const target of ["bare", "nowhere"]) {
        const where = target === "bare" ? "to the account" : "to a resource that is not there";
        scenario(`of type ${type} ${where} goes nowhere, and nobody is told`, async (stage) => {
          const town = await townOf(stage, states);
          await assertSilent(town, town.address(target), type, []);
        });
      }
      if (here) {
        scenario(`of type ${type} to a resource that is there comes to that one alone`, async (stage) => {
          const town = await townOf(stage, states);
          await assertSilent(town, town.address("match"), type, ["phone"]);
        });
      }
    }
  });
}

describe("a request", { concurrency: WIDTH }, () => {
  scenario("to a resource that is connected and has no presence is answered by that one", async (stage) => {
    await assertAnswered(await townOf(stage, { phone: "connected", tablet: 0 }), "phone", "get", "result");
  });

  scenario("may be answered with an error, which comes back like a result", async (stage) => {
    await assertAnswered(await townOf(stage, { phone: 0 }), "phone", "set", "error");
  });

  scenario("to another resource of the own account is answered by that one", async (stage) => {
    const town = await townOf(stage, { phone: 0, tablet: 0 });
    const [phone, tablet] = ["phone", "tablet"].map((name) => town.devices.get(name).wire);
    const id = ask(tablet, phone.jid, "get");
    const request = await phone.expect(isIq(id), "the request");
    assert.equal(request.attrs.from, tablet.jid);
    phone.send(`<iq xmlns='jabber:client' to='${tablet.jid}' type='result' id='${id}'/>`);
    assert.equal((await tablet.expect(isIq(id), "the answer")).attrs.from, phone.jid);
  });

  for (const payload of [
    ["a ping", `<ping xmlns='${NS.ping}'/>`],
    ["a question about features", `<query xmlns='${NS.disco}'/>`],
    ["a question about the roster", `<query xmlns='${NS.roster}'/>`],
    ["a question about the archive", `<query xmlns='${NS.mam}'/>`],
    ["a question about the blocklist", `<blocklist xmlns='${NS.blocking}'/>`],
    ["a question about the devices", `<devices xmlns='${NS.devices}'/>`],
    ["a question about what waits", `<summary xmlns='${NS.offline}'/>`],
  ]) {
    const [what, xml] = payload;
    scenario(`for somebody else's account tells nothing of it: ${what}`, async (stage) => {
      const town = await townOf(stage, { phone: 0, tablet: 0 });
      const answer = await town.alice.iq("get", xml, { to: bare(town.user) });
      assert.equal(answer.attrs.from, bare(town.user), answer.xml);
      assert.doesNotMatch(answer.xml, /phone|tablet/);
      if (what.includes("ping") || what.includes("features")) return;
      assert.equal(answer.attrs.type, "error", answer.xml);
      assert.match(answer.get("error").condition, /^(forbidden|service-unavailable|not-allowed)$/);
    });
  }

  for (const resource of ["", "/phone"]) {
    scenario(`to nobody${resource && ", at a resource,"} is refused, and an answer to nobody is not`, async (stage) => {
      const alice = await stage.person("alice");
      const address = `${bare(stranger())}${resource}`;
      for (const type of ["get", "set"]) {
        const id = ask(alice, address, type);
        assertRefused([await alice.expect(isIq(id), "the answer")], address);
      }
      const ids = ["result", "error"].map((type) => ask(alice, address, type));
      const behind = alice.message(address, "anyone?");
      await alice.expect(({ attrs }) => attrs.id === behind, "the error of a message");
      await alice.settle();
      for (const id of ids) assert.deepEqual(errorsOf(alice, id), []);
    });
  }

  for (const address of ["localhost", "localhost/somewhere"]) {
    scenario(`to the server (${address}) that nobody understands is refused, and an answer is not answered`, async (stage) => {
      const alice = await stage.person("alice");
      for (const type of ["get", "set"]) {
        const id = ask(alice, address, type);
        assertRefused([await alice.expect(isIq(id), "the answer")], address);
      }
      const ids = ["result", "error"].map((type) => ask(alice, address, type));
      await alice.settle();
      assert(!alice.waiting.some((frame) => ids.includes(frame.attrs.id)));
    });
  }

  scenario("to another domain is refused, for there is no way to it", async (stage) => {
    const alice = await stage.person("alice");
    for (const to of ["elsewhere.example", "bob@elsewhere.example", "bob@elsewhere.example/phone"]) {
      const id = ask(alice, to, "get");
      assertRefused([await alice.expect(isIq(id), "the answer")], to, "remote-server-not-found");
    }
  });

  for (const [what, xml] of [
    ["without an id", `<iq xmlns='jabber:client' type='get'>${QUERY}</iq>`],
    ["without a type", `<iq xmlns='jabber:client' id='x'>${QUERY}</iq>`],
    ["of an unheard-of type", `<iq xmlns='jabber:client' id='x' type='ask'>${QUERY}</iq>`],
    ["without a payload", "<iq xmlns='jabber:client' id='x' type='get'/>"],
    ["with two payloads", `<iq xmlns='jabber:client' id='x' type='get'>${QUERY}${QUERY}</iq>`],
  ]) {
    scenario(`${what} is a bad request, to whomever it goes`, async (stage) => {
      const town = await townOf(stage, { phone: 0 });
      for (const to of ["localhost", town.address("bare"), town.address("match")]) {
        town.alice.drop();
        town.alice.send(xml.replace("<iq ", `<iq to='${to}' `));
        const answer = await town.alice.expect((frame) => frame.is("iq") && frame.attrs.type === "error", "an error");
        assert.equal(answer.get("error").condition, "bad-request", answer.xml);
      }
      await town.arrived();
      assert.deepEqual(town.have((frame) => frame.is("iq")), []);
      assert(!town.alice.waiting.some(isError));
    });
  }

  scenario("that its receiver never answers leaves nothing behind: the next one is answered", async (stage) => {
    const town = await townOf(stage, { phone: 0 });
    const ignored = ask(town.alice, town.address("match"), "get");
    await town.devices.get("phone").wire.expect(isIq(ignored), "the request");
    await assertAnswered(town, "phone", "get", "result");
    assert.deepEqual(town.alice.waiting.filter(isIq(ignored)), []);
  });
});

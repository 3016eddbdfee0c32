// RFC 6121 §8.5, §4.6 and §3.1.3: what becomes of presence between two who have no subscription.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, afterEach, before, describe } from "node:test";
import { bare } from "../harness/wire.mjs";
import { WIDTH, isError, scenarios } from "./stage.mjs";
import { SITUATIONS, stranger, townOf } from "./town.mjs";

const scenario = scenarios({ before, after, afterEach });

const ADDRESSES = {
  bare: "to the account",
  match: "to a resource that is there",
  negative: "to a resource that is there and negative",
  nowhere: "to a resource that is not there",
};
/** Who is sent a directed presence. */
const DIRECTED = {
  bare: ["comes to every resource that is there, negative or not", (town) => town.availables],
  match: ["comes to that one alone", () => ["phone"]],
  negative: ["comes to that one alone", () => ["watch"]],
  nowhere: ["goes nowhere, and nobody is told", () => []],
};
const CHANGES = ["subscribed", "unsubscribe", "unsubscribed"];

function targetsOf(states) {
  if (states.phone === "away") return ["bare", "nowhere"];
  return Object.hasOwn(states, "watch") ? Object.keys(ADDRESSES) : ["bare", "match", "nowhere"];
}

const typed = (type) => (type === "available" ? "" : ` type='${type}'`);

function direct(alice, to, type) {
  const id = randomUUID();
  alice.send(`<presence xmlns='jabber:client' to='${to}' id='${id}'${typed(type)}/>`);
  return (frame) => frame.is("presence") && frame.attrs.id === id;
}

/** Alice is told of nothing: no error, and nobody's presence but her own. */
async function assertSilence(alice, to) {
  await alice.settle();
  const others = alice.waiting.filter((frame) => frame.is("presence") && frame.attrs.from?.startsWith(to));
  assert.deepEqual(others.map(({ xml }) => xml), []);
  assert(!alice.waiting.some(({ attrs }) => attrs.type === "error"), "she was told of an error");
  assert(!alice.waiting.some(isError));
}

for (const [situation, states] of Object.entries(SITUATIONS)) {
  describe(`when ${situation}, presence`, { concurrency: WIDTH }, () => {
    for (const type of ["available", "unavailable"]) {
      for (const target of targetsOf(states)) {
        const [outcome, whom] = DIRECTED[target];
        const nobody = target === "bare" && states.phone === "away";
        scenario(`of type ${type} ${ADDRESSES[target]} ${nobody ? "goes nowhere, and is not kept" : outcome}`, async (stage) => {
          const town = await townOf(stage, states);
          const isThis = direct(town.alice, town.address(target), type);
          await town.arrived();
          assert.deepEqual(town.have(isThis), whom(town));
          await town.everybodyComes();
          assert.deepEqual(town.have(isThis), whom(town), "somebody has it later");
          assert(town.mostOften(isThis) <= 1, "it came twice");
          await assertSilence(town.alice, bare(town.user));
        });
      }
    }

    for (const target of ["bare", states.phone === "away" ? "nowhere" : "match"]) {
      scenario(`of type subscribe ${ADDRESSES[target]} is for the account: all have it who are there, and whoever comes`, async (stage) => {
        const town = await townOf(stage, states);
        town.alice.send(`<presence xmlns='jabber:client' to='${town.address(target)}' type='subscribe'/>`);
        const isThis = (frame) => frame.is("presence") && frame.attrs.type === "subscribe";
        await town.arrived();
        assert.deepEqual(town.have(isThis), town.availables);
        await town.everybodyComes();
        assert.deepEqual(town.have(isThis), town.all);
        for (const { seen } of town.devices.values()) {
          // RFC 6121 §3.1.2: between accounts, not between resources.
          for (const { attrs } of seen.filter(isThis)) {
            assert.deepEqual([attrs.from, attrs.to], [bare(town.alice.user), bare(town.user)]);
          }
        }
        await assertSilence(town.alice, bare(town.user));
      });
    }

    for (const type of CHANGES) {
      scenario(`of type ${type} that answers nothing changes nothing, and no resource is told`, async (stage) => {
        const town = await townOf(stage, states);
        const isThis = direct(town.alice, bare(town.user), type);
        await town.arrived();
        await town.everybodyComes();
        assert.deepEqual(town.have(isThis), []);
        await assertSilence(town.alice, bare(town.user));
      });
    }

    scenario("of type probe from somebody who may not know is answered with unsubscribed, or not at all", async (stage) => {
      const town = await townOf(stage, states);
      const isThis = direct(town.alice, bare(town.user), "probe");
      await town.arrived();
      assert.deepEqual(town.have(isThis), [], "RFC 6121 §4.3: it is the server's to answer");
      await town.alice.settle();
      const told = town.alice.waiting.filter((frame) => frame.attrs.from?.startsWith(bare(town.user)));
      assert(told.every((frame) => frame.is("presence") && frame.attrs.type === "unsubscribed"), told[0]?.xml);
    });
  });
}

describe("presence", { concurrency: WIDTH }, () => {
  for (const type of ["available", "unavailable", "subscribe", ...CHANGES, "probe"]) {
    for (const resource of ["", "/phone"]) {
      const answer = type === "probe" ? "is answered with unsubscribed, or not at all" : "goes nowhere, and nobody is told";
      scenario(`of type ${type} to nobody${resource && ", at a resource,"} ${answer}`, async (stage) => {
        const [alice, user] = [await stage.person("alice"), stranger()];
        direct(alice, `${bare(user)}${resource}`, type);
        const behind = alice.message(bare(user), "anyone?");
        await alice.expect(({ attrs }) => attrs.type === "error" && attrs.id === behind, "the error of a message");
        await alice.settle();
        const told = alice.waiting.filter(({ attrs }) => attrs.from?.startsWith(bare(user)));
        assert(told.every((frame) => type === "probe" && frame.attrs.type === "unsubscribed"), told[0]?.xml);
      });
    }

    scenario(`of type ${type} to the server or to another domain ends no stream`, async (stage) => {
      const alice = await stage.person("alice");
      for (const to of ["localhost", "localhost/somewhere", "elsewhere.example", "bob@elsewhere.example"]) {
        direct(alice, to, type);
      }
      await alice.settle();
      assert(!alice.isClosed && !alice.waiting.some(isError));
    });
  }

  scenario("of type error is never answered, and comes to nobody but the resource that it names", async (stage) => {
    const town = await townOf(stage, { phone: 0, tablet: 0 });
    const seen = ["match", "bare", "nowhere"].map((target) => direct(town.alice, town.address(target), "error"));
    await town.arrived();
    const [match, ...others] = seen.map((isThis) => town.have(isThis));
    assert(match.every((name) => name === "phone"), `it came to ${match}`);
    assert.deepEqual(others, [[], []]);
    await assertSilence(town.alice, bare(town.user));
  });

  scenario("of no known type is at most an error to its sender, and nothing to anybody else", async (stage) => {
    const town = await townOf(stage, { phone: 0 });
    const isThis = direct(town.alice, town.address("bare"), "unheard-of");
    await town.arrived();
    assert.deepEqual(town.have(isThis), []);
    const errors = town.alice.waiting.filter((frame) => isThis(frame) && frame.attrs.type === "error");
    assert(errors.length <= 1 && errors.every((frame) => frame.get("error").condition === "bad-request"), errors[0]?.xml);
  });

  // RFC 6121 §4.6.3
  scenario("that was sent to somebody is followed by unavailable when the link says goodbye", async (stage) => {
    const town = await townOf(stage, { phone: 0 });
    const isThis = direct(town.alice, town.address("match"), "available");
    await town.arrived();
    assert.deepEqual(town.have(isThis), ["phone"]);
    const from = town.alice.jid;
    await town.alice.close();
    const { wire } = town.devices.get("phone");
    await wire.expect(({ attrs }) => attrs.from === from && attrs.type === "unavailable", "unavailable");
  });
});

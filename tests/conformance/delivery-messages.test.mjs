// RFC 6121 §8.5: what becomes of a message, by its type, its address and who is there.
//
// Where the RFC leaves a choice: what is for the account goes to all its resources that are not
// negative; every device has a queue of its own, so that what was for the account waits for those
// that are not there or negative; a chat or normal message to a resource that is not there is for
// the account.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, afterEach, before, describe } from "node:test";
import { everything } from "../harness/archive.mjs";
import { Wire, bare } from "../harness/wire.mjs";
import { NS } from "../harness/xml.mjs";
import { WIDTH, isError, scenarios } from "./stage.mjs";
import { SITUATIONS, assertRefused, available, errorsOf, stranger, townOf } from "./town.mjs";

const scenario = scenarios({ before, after, afterEach });

const OUTCOMES = {
  queued: "comes to all that are not negative, and to the others when they are there",
  here: "comes to all that are there and not negative, and never to others",
  one: "comes to that one alone",
  refused: "is refused with service-unavailable",
  dropped: "goes nowhere, and nobody is told",
};
const ADDRESSES = {
  bare: "to the account",
  match: "to a resource that is there",
  negative: "to a resource that is there and negative",
  nowhere: "to a resource that is not there",
};
const QUEUED = { bare: "queued", match: "one", negative: "one", nowhere: "queued" };
const TYPES = {
  chat: QUEUED,
  normal: QUEUED,
  groupchat: { bare: "refused", match: "one", negative: "one", nowhere: "refused" },
  headline: { bare: "here", match: "one", negative: "one", nowhere: "dropped" },
  error: { bare: "dropped", match: "one", negative: "one", nowhere: "dropped" },
};

/** Which addresses there are in a situation. */
function addressesOf(states) {
  if (states.phone === "away") return ["bare", "nowhere"];
  return Object.hasOwn(states, "watch") ? Object.keys(ADDRESSES) : ["bare", "match", "nowhere"];
}

function attributes(to, type, id) {
  return `xmlns='jabber:client' to='${to}' id='${id}'${type === undefined ? "" : ` type='${type}'`}`;
}

/** Writes one message and answers who had it at once, who in the end, and what Alice was told. */
async function trial(town, address, type) {
  const id = randomUUID();
  const cause = type === "error" ? `<error type='cancel'><item-not-found xmlns='${NS.stanzaErrors}'/></error>` : "";
  town.alice.send(`<message ${attributes(address, type, id)}><body>this</body>${cause}</message>`);
  const isThis = (frame) => frame.is("message") && frame.attrs.id === id;
  await town.arrived();
  const live = town.have(isThis);
  await town.everybodyComes();
  await town.alice.settle();
  assert(town.mostOften(isThis) <= 1, "it came twice");
  return { live, all: town.have(isThis), errors: errorsOf(town.alice, id) };
}

async function assertOutcome(town, target, outcome, type) {
  const address = town.address(target);
  const { live, all, errors } = await trial(town, address, type);
  const told = { queued: town.open, here: town.open, one: [{ negative: "watch" }[target] ?? "phone"] }[outcome] ?? [];
  assert.deepEqual(live, told, "those who had it at once");
  assert.deepEqual(all, outcome === "queued" ? town.all : told, "those who have it in the end");
  if (outcome === "refused") assertRefused(errors, address);
  else assert.deepEqual(errors.map(({ xml }) => xml), []);
}

for (const [situation, states] of Object.entries(SITUATIONS)) {
  describe(`when ${situation}, a message`, { concurrency: WIDTH }, () => {
    for (const [type, outcomes] of Object.entries(TYPES)) {
      for (const target of addressesOf(states)) {
        const outcome = outcomes[target];
        scenario(`of type ${type} ${ADDRESSES[target]} ${OUTCOMES[outcome]}`, async (stage) => {
          await assertOutcome(await townOf(stage, states), target, outcome, type);
        });
      }
    }
  });
}

describe("a message", { concurrency: WIDTH }, () => {
  for (const type of [undefined, "", "unheard-of"]) {
    const called = type === undefined ? "without a type" : `of the type "${type}"`;
    for (const target of ["bare", "match", "nowhere"]) {
      scenario(`${called} ${ADDRESSES[target]} is one of type normal`, async (stage) => {
        const town = await townOf(stage, { phone: 0, tablet: 3 });
        await assertOutcome(town, target, TYPES.normal[target], type);
      });
    }
  }

  for (const type of ["chat", "normal"]) {
    scenario(`of type ${type} to the account waits for a device that is connected and has no presence`, async (stage) => {
      const town = await townOf(stage, { phone: "connected", tablet: "away" });
      await assertOutcome(town, "bare", "queued", type);
    });
  }

  scenario("of type headline is in no archive, and one of type chat is in both", async (stage) => {
    const town = await townOf(stage, { phone: 0 });
    for (const type of ["headline", "chat"]) town.alice.message(bare(town.user), `a ${type}`, { type });
    await town.devices.get("phone").wire.expectMessage("a chat");
    for (const wire of [town.alice, town.devices.get("phone").wire]) {
      assert.deepEqual((await everything(wire, 10)).map(({ body }) => body), ["a chat"]);
    }
  });

  scenario("that waits for a negative resource comes to it once, in order, when its priority is raised", async (stage) => {
    const town = await townOf(stage, { phone: -1, tablet: 1 });
    for (let n = 1; n <= 12; n += 1) town.alice.message(bare(town.user), `message ${n}`);
    await town.arrived();
    const { wire } = town.devices.get("phone");
    const numbers = () => wire.bodies.filter((body) => body.startsWith("message"));
    assert.deepEqual(numbers(), []);
    wire.send(available(0));
    await wire.expectMessage("message 12");
    wire.send(available(-1));
    wire.send(available(4));
    await wire.settle();
    assert.deepEqual(numbers(), Array.from({ length: 12 }, (_, i) => `message ${i + 1}`));
  });

  scenario("to the account does not come to a resource whose priority was lowered below zero", async (stage) => {
    const town = await townOf(stage, { phone: 3, tablet: 1 });
    town.devices.get("phone").wire.send(available(-1));
    await town.devices.get("phone").wire.settle();
    town.devices.get("phone").state = -1;
    await assertOutcome(town, "bare", "queued", "chat");
  });

  for (const priority of ["128", "-129", "high", ""]) {
    scenario(`is not kept from a device by a priority that is none: ${JSON.stringify(priority)}`, async (stage) => {
      const town = await townOf(stage, { phone: 0 });
      const { wire } = town.devices.get("phone");
      wire.send(available(priority));
      await wire.settle();
      town.alice.message(bare(town.user), "still here?");
      await wire.expectMessage("still here?");
      assert(!wire.waiting.some(isError));
    });
  }
});

describe("a message to nobody", { concurrency: WIDTH }, () => {
  const outcomes = { chat: "refused", normal: "refused", groupchat: "refused", headline: "dropped", error: "dropped" };
  for (const [type, outcome] of Object.entries(outcomes)) {
    for (const resource of ["", "/phone"]) {
      const where = resource === "" ? "its account" : "a resource";
      // §8.5.1: silence or an error.
      const said = outcome === "refused" ? OUTCOMES.refused : "is refused or goes nowhere";
      scenario(`of type ${type} to ${where} ${said}`, async (stage) => {
        const alice = await stage.person("alice");
        const user = stranger();
        const address = `${bare(user)}${resource}`;
        const id = alice.message(address, "anyone?", { type });
        // Nobody can be told that it has arrived: another one shows it.
        const behind = alice.message(address, "anyone at all?");
        await alice.expect(({ attrs }) => attrs.type === "error" && attrs.id === behind, "the second error");
        await alice.settle();
        const errors = errorsOf(alice, id);
        if (outcome === "refused" || errors.length > 0) assertRefused(errors, address);
        if (type === "error") assert.deepEqual(errors, [], "an error was answered with an error");
        // What was refused is not there for whoever takes the name.
        await Wire.register(stage.relay, user);
        const taker = await stage.login(user);
        await taker.settle();
        assert.deepEqual(taker.bodies, []);
      });
    }
  }
});

describe("a message to the server", { concurrency: WIDTH }, () => {
  for (const address of ["localhost", "localhost/somewhere"]) {
    for (const type of ["chat", "normal", "groupchat", "headline", "error"]) {
      const answer = type === "error" ? "is not answered" : "is refused";
      scenario(`(${address}) of type ${type} ${answer}`, async (stage) => {
        const alice = await stage.person("alice");
        const id = alice.message(address, "server?", { type });
        await alice.settle();
        const errors = errorsOf(alice, id);
        if (type === "error") assert.deepEqual(errors, []);
        else assertRefused(errors, address);
      });
    }
  }

  scenario("of another domain is refused, for there is no way to it", async (stage) => {
    const alice = await stage.person("alice");
    for (const to of ["elsewhere.example", "bob@elsewhere.example", "bob@elsewhere.example/phone"]) {
      const id = alice.message(to, "over there?");
      await alice.settle();
      assertRefused(errorsOf(alice, id), to, "remote-server-not-found");
    }
  });
});

describe("a message to oneself", { concurrency: WIDTH }, () => {
  for (const to of [undefined, "bare"]) {
    scenario(`${to === undefined ? "without an address" : "by the own address"} comes to all own resources that are not negative`, async (stage) => {
      const user = await stage.account("alice");
      const wires = {};
      for (const [name, priority] of [["phone", 1], ["tablet", 0], ["watch", -1]]) {
        wires[name] = await stage.login(user, { resource: name, presence: false });
        wires[name].send(available(priority));
        await wires[name].settle();
      }
      const address = to === undefined ? "" : ` to='${bare(user)}'`;
      wires.phone.send(`<message xmlns='jabber:client'${address} type='chat' id='note'><body>a note</body></message>`);
      for (const name of ["phone", "tablet"]) await wires[name].expectMessage("a note");
      await wires.watch.settle();
      assert.deepEqual(wires.watch.bodies, []);
      wires.watch.send(available(0));
      await wires.watch.expectMessage("a note");
      for (const wire of Object.values(wires)) assert.deepEqual(wire.bodies, ["a note"]);
    });
  }
});

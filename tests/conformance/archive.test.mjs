// XEP-0313 and XEP-0059 at their edges: pages that cannot be, ids that are not, bounds that contradict.
//
// The ordinary ways through the archive are in `wire/archive.test.mjs`.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, afterEach, before, describe } from "node:test";
import { everything, finOf, page, pages, query, resultsOf } from "../harness/archive.mjs";
import { bare } from "../harness/wire.mjs";
import { NS, escape } from "../harness/xml.mjs";
import { WIDTH, numbered, scenarios } from "./stage.mjs";

const scenario = scenarios({ before, after, afterEach });
const PAGE_STANZAS_MAX = 250;
const bodies = (results) => results.map(({ body }) => body);

/** Bob, to whom Alice has written `count` messages; `all` is his archive. */
async function written(stage, count) {
  const [alice, bob] = await stage.pair();
  for (const body of numbered(count)) alice.message(bare(bob.user), body, { origin: true });
  assert.equal(await alice.ask(), alice.sent);
  if (count > 0) await bob.expectMessage(`message ${count}`);
  await bob.settle();
  return { alice, bob, all: await everything(bob, 100) };
}

/** Asks what must be refused; answers the condition. */
async function refusal(wire, payload, options) {
  const answer = await wire.iq("set", payload, options);
  assert.equal(answer.attrs.type, "error", answer.xml);
  assert(!wire.waiting.some((frame) => frame.get("result", NS.mam)), "there were results all the same");
  return answer.get("error").condition;
}

const set = (inner) => `<query xmlns='${NS.mam}' queryid='q'><set xmlns='${NS.rsm}'>${inner}</set></query>`;
const field = (name, value) => `<field var='${name}'><value>${escape(value)}</value></field>`;
const form = (inner, type = NS.mam) =>
  `<query xmlns='${NS.mam}' queryid='q'><x xmlns='jabber:x:data' type='submit'>` +
  `${type === null ? "" : `<field var='FORM_TYPE' type='hidden'><value>${type}</value></field>`}${inner}</x></query>`;

describe("a page", { concurrency: WIDTH }, () => {
  scenario("of no messages says how many there are, and neither a first nor a last", async (stage) => {
    const { bob } = await written(stage, 12);
    const none = await page(bob, { max: 0 });
    assert.deepEqual(none, { results: [], complete: false, first: undefined, last: undefined, count: "12" });
    const half = await page(bob, { max: 0, start: "2000-01-01T00:00:00Z", end: "2001-01-01T00:00:00Z" });
    assert.deepEqual(half.results, []);
    assert.equal(half.count, "0");
  });

  scenario("of more than the relay gives at once is as long as the relay gives, and says that it is not all", async (stage) => {
    const { bob, all } = await written(stage, PAGE_STANZAS_MAX + 10);
    for (const max of [PAGE_STANZAS_MAX + 1, 100_000, 4_294_967_295, "18446744073709551615"]) {
      const first = await page(bob, { max });
      assert.equal(first.complete, false);
      assert.deepEqual(first.results, all.slice(0, PAGE_STANZAS_MAX));
      const rest = await page(bob, { max, after: first.last });
      assert.deepEqual([rest.complete, rest.results], [true, all.slice(PAGE_STANZAS_MAX)]);
    }
  });

  for (const max of ["-1", "ten", "", "1.5", "0x10", "1e3", "99999999999999999999999"]) {
    scenario(`of ${JSON.stringify(max)} messages is a bad request`, async (stage) => {
      const { bob } = await written(stage, 1);
      assert.equal(await refusal(bob, set(`<max>${max}</max>`)), "bad-request");
    });
  }

  scenario("by its number is refused: there are none", async (stage) => {
    const { bob } = await written(stage, 1);
    assert.equal(await refusal(bob, set("<max>10</max><index>0</index>")), "feature-not-implemented");
  });

  scenario("between two messages holds nothing that is not between them", async (stage) => {
    const { bob, all } = await written(stage, 10);
    // XEP-0313 leaves before and after together undefined: nothing outside of them may come.
    const answer = await bob.iq("set", query("q", { after: all[2].id, before: all[7].id, max: 10 }));
    const results = resultsOf(bob.waiting, "q");
    if (answer.attrs.type === "error") assert.deepEqual(results, []);
    else assert.deepEqual(results, all.slice(3, 7));
    const fields = await page(bob, { "after-id": all[2].id, "before-id": all[7].id });
    assert.deepEqual([fields.complete, fields.results], [true, all.slice(3, 7)]);
    const crossed = await page(bob, { "after-id": all[7].id, "before-id": all[2].id });
    assert.deepEqual([crossed.complete, crossed.results], [true, []]);
  });

  scenario("before nothing in particular is the last one, in the order of time", async (stage) => {
    const { bob, all } = await written(stage, 60);
    const last = await page(bob, { max: 7, before: "" });
    assert.deepEqual([last.results, last.first, last.last], [all.slice(-7), all.at(-7).id, all.at(-1).id]);
    assert.equal(last.complete, false);
    const unsized = await page(bob, { before: "" });
    assert.deepEqual(unsized.results, all.slice(-unsized.results.length));
    assert(unsized.results.length > 0);
  });

  scenario("before the first and one behind the last are empty and complete", async (stage) => {
    const { bob, all } = await written(stage, 5);
    for (const bound of [{ before: all[0].id }, { after: all.at(-1).id }]) {
      const { results, complete, first, last } = await page(bob, { max: 10, ...bound });
      assert.deepEqual({ results, complete, first, last }, { results: [], complete: true, first: undefined, last: undefined });
    }
  });

  scenario("that ends with the last message says so, and no page before it does", async (stage) => {
    const { bob } = await written(stage, 30);
    const complete = [];
    for await (const one of pages(bob, { max: 10 })) complete.push(one.complete);
    assert.deepEqual(complete, [false, false, true]);
    assert.equal((await page(bob, { max: 30 })).complete, true);
    assert.equal((await page(bob, { max: 29 })).complete, false);
    // Going back, it is complete when the first of all is on it.
    const back = [];
    for (let before = ""; ; ) {
      const one = await page(bob, { max: 10, before });
      back.push(one.complete);
      if (one.complete) break;
      before = one.first;
    }
    assert.deepEqual(back, [false, false, true]);
  });

  for (const [way, start] of [["forwards", {}], ["backwards", { before: "" }]]) {
    scenario(`that is flipped is the same page from its other end, going ${way}`, async (stage) => {
      const { bob } = await written(stage, 25);
      const seen = [];
      for (let place = start; ; ) {
        const plain = await page(bob, { max: 10, ...place });
        const flipped = await page(bob, { max: 10, flip: true, ...place });
        assert.deepEqual(flipped.results, plain.results.toReversed());
        assert.deepEqual([flipped.first, flipped.last, flipped.complete], [plain.first, plain.last, plain.complete]);
        seen.push(plain.results.length);
        if (plain.complete) break;
        place = way === "forwards" ? { after: plain.last } : { before: plain.first };
      }
      assert.deepEqual(seen, [10, 10, 5]);
    });
  }

  scenario("goes on where it stood when messages come meanwhile, in both directions", async (stage) => {
    const { alice, bob, all } = await written(stage, 20);
    const [first, last] = [await page(bob, { max: 10 }), await page(bob, { max: 10, before: "" })];
    for (const body of numbered(5, "meanwhile")) alice.message(bare(bob.user), body);
    await bob.expectMessage("meanwhile 5");
    const second = await page(bob, { max: 15, after: first.last });
    assert.deepEqual(bodies(second.results), [...bodies(all.slice(10)), ...numbered(5, "meanwhile")]);
    assert.equal(second.complete, true);
    const earlier = await page(bob, { max: 10, before: last.first });
    assert.deepEqual([earlier.results, earlier.complete], [all.slice(0, 10), true]);
    assert.deepEqual((await page(bob, { max: 10 })).results, first.results, "a page has changed");
  });
});

describe("an id", { concurrency: WIDTH }, () => {
  const unknown = ["no-such-id", "1000000", "-1", "0x1", "1.0", "18446744073709551616"];
  for (const id of unknown) {
    scenario(`that no message has is not found, whatever it bounds: ${JSON.stringify(id)}`, async (stage) => {
      const { bob, all } = await written(stage, 3);
      for (const asked of [
        { after: id },
        { before: id },
        { "after-id": id },
        { "before-id": id },
        { ids: [id] },
        { ids: [all[0].id, id, all[2].id] },
        { after: id, max: 0 },
      ]) {
        assert.equal(await refusal(bob, query("q", asked)), "item-not-found", JSON.stringify(asked));
      }
    });
  }

  scenario("of a message is the one that the message came with", async (stage) => {
    const [alice, bob] = await stage.pair();
    const live = [];
    bob.onBody = (_, frame) => live.push(...frame.all("stanza-id", NS.sid).filter(({ attrs }) => attrs.by === bare(bob.user)));
    for (const body of numbered(10)) alice.message(bare(bob.user), body);
    await bob.expectMessage("message 10");
    const all = await everything(bob, 3);
    assert.deepEqual(all.map(({ id }) => id), live.map(({ attrs }) => attrs.id));
    assert.equal(new Set(all.map(({ id }) => id)).size, 10);
    // And it is inside, for whoever looks there.
    for (const { id, xml } of all) assert.match(xml, new RegExp(`stanza-id [^>]*id=['"]${id}['"]`));
  });

  scenario("of another account's archive is not this one's: what is forged under it is taken away", async (stage) => {
    const { alice, bob } = await written(stage, 1);
    const forged = `<stanza-id xmlns='${NS.sid}' by='${bare(bob.user)}' id='forged'/>`;
    alice.message(bare(bob.user), "with a lie", { extra: forged });
    await bob.expectMessage("with a lie");
    const all = await everything(bob, 10);
    assert.doesNotMatch(all.at(-1).xml, /forged/);
    assert.equal(all.length, 2);
  });

  scenario("that is asked for twice comes once, in the order of time, and not outside of other bounds", async (stage) => {
    const { bob, all } = await written(stage, 6);
    const ids = [all[4].id, all[1].id, all[4].id, all[2].id];
    assert.deepEqual((await page(bob, { ids })).results, [all[1], all[2], all[4]]);
    assert.deepEqual((await page(bob, { ids, "after-id": all[1].id })).results, [all[2], all[4]]);
    assert.deepEqual((await page(bob, { ids, max: 2 })).results, [all[1], all[2]]);
    assert.deepEqual((await page(bob, { ids, max: 2, after: all[2].id })).results, [all[4]]);
  });
});

describe("a query", { concurrency: WIDTH }, () => {
  scenario("with a field that the relay does not know is refused, and not answered as if it were not there", async (stage) => {
    const { bob } = await written(stage, 2);
    assert.equal(await refusal(bob, query("q", { "urn:example:colour": "red" })), "feature-not-implemented");
    assert.equal(await refusal(bob, query("q", { with: bare("a"), withtext: "message" })), "feature-not-implemented");
  });

  for (const [what, payload] of [
    ["of another kind", form(field("with", "a@localhost"), "urn:example:form")],
    ["of no kind", form(field("with", "a@localhost"), null)],
  ]) {
    scenario(`with a form ${what} is a bad request`, async (stage) => {
      const { bob } = await written(stage, 2);
      assert.equal(await refusal(bob, payload), "bad-request");
    });
  }

  scenario("without a form, a page or a name gets the archive from its beginning", async (stage) => {
    const { bob, all } = await written(stage, 3);
    const answer = await bob.iq("set", `<query xmlns='${NS.mam}'/>`);
    assert.equal(finOf(answer).complete, true);
    assert.deepEqual(resultsOf(bob.waiting, undefined), all);
    // No queryid in the query, none in its results.
    assert(bob.waiting.every((frame) => !Object.hasOwn(frame.get("result", NS.mam)?.attrs ?? {}, "queryid")));
  });

  scenario("comes back under its own name, from the own account and to the one device", async (stage) => {
    const { bob } = await written(stage, 3);
    const name = "<'q&\"> 名";
    const answer = await bob.iq("set", query(escape(name), { max: 2 }));
    const results = bob.waiting.filter((frame) => frame.get("result", NS.mam));
    assert.equal(results.length, 2);
    for (const message of results) {
      assert.equal(message.get("result", NS.mam).attrs.queryid, name);
      assert([undefined, bare(bob.user)].includes(message.attrs.from), message.xml);
      assert.equal(message.attrs.to, bob.jid);
    }
    assert.equal(answer.attrs.type, "result");
  });

  scenario("beside another is answered for itself, each with its results before its end", async (stage) => {
    const { bob, all } = await written(stage, 30);
    const order = [];
    bob.onFrame = (frame) => {
      const name = frame.get("result", NS.mam)?.attrs.queryid;
      if (name) order.push(name);
      if (frame.get("fin", NS.mam)) order.push(`end ${frame.attrs.id}`);
      return false;
    };
    const ids = ["one", "two", "three"];
    for (const id of ids) bob.send(`<iq xmlns='jabber:client' type='set' id='${id}'>${query(id, { max: 12 })}</iq>`);
    for (const id of ids) await bob.expect((frame) => frame.attrs.id === id && frame.is("iq"), `the end of ${id}`);
    for (const id of ids) {
      assert.deepEqual(resultsOf(bob.waiting, id), all.slice(0, 12));
      assert(order.lastIndexOf(id) < order.indexOf(`end ${id}`), order.join(" "));
    }
  });

  scenario("from a later time to an earlier one gets nothing, and that is complete", async (stage) => {
    const { bob, all } = await written(stage, 3);
    const { results, complete } = await page(bob, { start: "2100-01-01T00:00:00Z", end: "2000-01-01T00:00:00Z" });
    assert.deepEqual([results, complete], [[], true]);
    assert.deepEqual((await page(bob, { start: "2100-01-01T00:00:00Z" })).results, []);
    assert.deepEqual((await page(bob, { end: "2100-01-01T00:00:00Z" })).results, all);
  });

  scenario("understands a time wherever its writer's clock stands", async (stage) => {
    const { bob, all } = await written(stage, 3);
    const at = new Date(all[1].at);
    const elsewhere = (hours, minutes = 0) => {
      const shifted = new Date(at.getTime() + (hours * 60 + Math.sign(hours) * minutes) * 60_000);
      const pad = (n) => String(Math.abs(n)).padStart(2, "0");
      return `${shifted.toISOString().slice(0, -1)}${hours < 0 ? "-" : "+"}${pad(hours)}:${pad(minutes)}`;
    };
    const wanted = (await page(bob, { start: at.toISOString() })).results;
    assert.deepEqual(wanted, all.filter((one) => new Date(one.at) >= at));
    for (const stamp of [elsewhere(8), elsewhere(-5), elsewhere(5, 45), elsewhere(-3, 30), elsewhere(14)]) {
      assert.deepEqual((await page(bob, { start: stamp })).results, wanted, stamp);
    }
  });

  for (const stamp of ["", "yesterday", "2026-13-01T00:00:00Z", "2026-01-01", "1700000000", "2026-01-01T00:00:00"]) {
    scenario(`with a time that is none is a bad request: ${JSON.stringify(stamp)}`, async (stage) => {
      const { bob } = await written(stage, 1);
      for (const name of ["start", "end"]) assert.equal(await refusal(bob, form(field(name, stamp))), "bad-request");
    });
  }

  scenario("about somebody who is no address is malformed, and about a stranger is empty", async (stage) => {
    const { bob } = await written(stage, 2);
    assert.equal(await refusal(bob, query("q", { with: "@@" })), "jid-malformed");
    const { results, complete, count } = await page(bob, { with: bare("a-stranger"), max: 0 });
    assert.deepEqual({ results, complete, count }, { results: [], complete: true, count: "0" });
  });

  for (const [whose, address] of [
    ["of somebody else", (alice) => bare(alice.user)],
    ["of somebody else's device", (alice) => alice.jid],
    ["of nobody", () => bare("nobody-at-all")],
    ["of the server", () => "localhost"],
    ["of another server", () => "archive.elsewhere.example"],
  ]) {
    scenario(`${whose} shows nothing`, async (stage) => {
      const { alice, bob } = await written(stage, 2);
      if (whose.endsWith("device")) {
        // What is for a device is the device's to answer: it does not know the question.
        alice.onFrame = (frame) => {
          const asked = frame.is("iq") && frame.get("query", NS.mam);
          if (asked) {
            alice.send(
              `<iq xmlns='jabber:client' to='${frame.attrs.from}' id='${frame.attrs.id}' type='error'>` +
                `<error type='cancel'><service-unavailable xmlns='${NS.stanzaErrors}'/></error></iq>`,
            );
          }
          return Boolean(asked);
        };
      }
      for (const type of ["set", "get"]) {
        const answer = await bob.iq(type, `<query xmlns='${NS.mam}' queryid='q'/>`, { to: address(alice) });
        assert.equal(answer.attrs.type, "error", answer.xml);
      }
      assert.deepEqual(resultsOf(bob.waiting, "q"), []);
    });
  }

  scenario("is refused where it is no query: another element, another type", async (stage) => {
    const { bob } = await written(stage, 1);
    for (const [type, payload] of [["set", `<metadata xmlns='${NS.mam}'/>`], ["get", `<query2 xmlns='${NS.mam}'/>`]]) {
      assert.equal((await bob.iq(type, payload)).attrs.type, "error");
    }
  });

  scenario("of its form is answered with the fields that a query may have", async (stage) => {
    const { bob } = await written(stage, 0);
    const answer = await bob.iq("get", `<query xmlns='${NS.mam}'/>`);
    const fields = answer.get("query", NS.mam).get("x", "jabber:x:data").all("field").map(({ attrs }) => attrs.var);
    for (const name of ["FORM_TYPE", "with", "start", "end", "before-id", "after-id", "ids"]) {
      assert(fields.includes(name), answer.xml);
    }
  });
});

describe("an archive", { concurrency: WIDTH }, () => {
  scenario("without a message says so everywhere", async (stage) => {
    const { bob, all } = await written(stage, 0);
    assert.deepEqual(all, []);
    for (const asked of [{ max: 10 }, { max: 10, before: "" }, { max: 10, flip: true }]) {
      const { results, complete, first, last } = await page(bob, asked);
      assert.deepEqual({ results, complete, first, last }, { results: [], complete: true, first: undefined, last: undefined });
    }
    assert.equal((await page(bob, { max: 0 })).count, "0");
    const metadata = (await bob.iq("get", `<metadata xmlns='${NS.mam}'/>`)).get("metadata", NS.mam);
    assert.deepEqual(metadata.children, []);
  });

  scenario("begins and ends where its metadata says, with one message and with many", async (stage) => {
    const { alice, bob } = await written(stage, 1);
    const ends = async () => {
      const metadata = (await bob.iq("get", `<metadata xmlns='${NS.mam}'/>`)).get("metadata", NS.mam);
      return ["start", "end"].map((name) => metadata.get(name).attrs);
    };
    for (const more of [0, 9]) {
      for (const body of numbered(more, "more")) alice.message(bare(bob.user), body);
      if (more > 0) await bob.expectMessage(`more ${more}`);
      const all = await everything(bob, 50);
      const [start, end] = await ends();
      assert.deepEqual([start.id, end.id], [all[0].id, all.at(-1).id]);
      assert.deepEqual([start.timestamp, end.timestamp].map(Date.parse), [all[0].at, all.at(-1).at].map(Date.parse));
    }
  });

  scenario("says when a message came, in UTC and the same each time, and never a time of its sender's making", async (stage) => {
    const { alice, bob } = await written(stage, 1);
    const old = `<delay xmlns='${NS.delay}' from='localhost' stamp='2001-01-01T00:00:00Z'/>`;
    const since = Date.now();
    alice.message(bare(bob.user), "backdated", { extra: old });
    await bob.expectMessage("backdated");
    const all = await everything(bob, 10);
    for (const { at } of all) assert.match(at, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/);
    assert(Date.parse(all.at(-1).at) >= since - 60_000, all.at(-1).at);
    assert.doesNotMatch(all.at(-1).xml, /2001-01-01/);
    assert.deepEqual(await everything(bob, 10), all);
  });

  scenario("of the sender holds each message once, and so does that of the receiver, whatever was sent again", async (stage) => {
    const [alice, bob] = await stage.pair();
    const id = randomUUID();
    for (let i = 0; i < 3; i += 1) alice.message(bare(bob.user), "once", { id, origin: true });
    alice.message(bare(bob.user), "last");
    await bob.expectMessage("last");
    for (const wire of [alice, bob]) assert.deepEqual(bodies(await everything(wire, 10)), ["once", "last"]);
  });
});

// The archive on a real relay: the log by pages, the same to every device, whatever dies meanwhile.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, afterEach, before, describe, test } from "node:test";
import { everything, finOf, page, pages, query, resultsOf } from "../harness/archive.mjs";
import { sharedRelay } from "../harness/relay.mjs";
import { Wire, bare } from "../harness/wire.mjs";
import { NS } from "../harness/xml.mjs";

const shared = sharedRelay({ before, after, afterEach });
const login = (user, options) => Wire.login(shared.relay, user, options);

const registered = (name) => Wire.registered(shared.relay, name);

/** Alice and Bob have written `count` messages to each other in turns. */
async function talked(count) {
  const [alice, bob] = [await login(await registered("alice")), await login(await registered("bob"))];
  for (let n = 1; n <= count; n += 1) {
    const [from, to] = n % 3 === 0 ? [bob, alice] : [alice, bob];
    from.message(bare(to.user), `message ${n}`, { origin: true });
    // Two people who write at once have no common order to look for.
    if (n % 3 !== 1 || n === count) await to.expectMessage(`message ${n}`);
  }
  await Promise.all([alice.settle(), bob.settle()]);
  return [alice, bob];
}

const bodies = (results) => results.map(({ body }) => body);
const numbered = (count) => Array.from({ length: count }, (_, i) => `message ${i + 1}`);

describe("the archive", () => {
  test("is announced for the account", async () => {
    const [alice] = await talked(0);
    const info = await alice.iq("get", `<query xmlns='${NS.disco}'/>`, { to: bare(alice.user) });
    const features = info.get("query", NS.disco).all("feature").map((feature) => feature.attrs.var);
    assert(features.includes(NS.mam) && features.includes(`${NS.mam}#extended`), info.xml);
  });

  test("comes in pages of any size, with the end marked, and both people have all of it in order", async () => {
    const [alice, bob] = await talked(120);
    for (const max of [10, 50, 200]) {
      for (const wire of [alice, bob]) assert.deepEqual(bodies(await everything(wire, max)), numbered(120));
    }
    const sizes = [];
    for await (const { results } of pages(bob, { max: 50 })) sizes.push(results.length);
    assert.deepEqual(sizes, [50, 50, 20]);
    assert.equal((await page(bob, { max: 0 })).count, "120");
  });

  test("is the same to a device that was away, byte for byte, before and after the relay dies", async () => {
    const [alice] = await talked(30);
    const laptop = await login(alice.user, { resource: "laptop" });
    const seen = await everything(alice, 7);
    assert.deepEqual(await everything(laptop, 11), seen);
    await shared.relay.kill();
    await shared.relay.restart();
    const again = await login(alice.user, { resource: "tablet" });
    assert.deepEqual(await everything(again, 50), seen);
  });

  test("is read backwards from its end, and by person, time and id", async () => {
    const [alice, bob] = await talked(30);
    const carol = await login(await registered("carol"));
    carol.message(bare(bob.user), "from carol");
    await bob.expectMessage("from carol");
    const all = await everything(bob, 50);
    const last = await page(bob, { max: 5, before: "" });
    assert.deepEqual(last.results, all.slice(-5));
    assert.deepEqual((await page(bob, { max: 5, before: last.first })).results, all.slice(-10, -5));
    assert.deepEqual((await page(bob, { max: 3, before: "", flip: true })).results, all.slice(-3).reverse());
    assert.deepEqual(bodies((await page(bob, { with: bare(carol.user) })).results), ["from carol"]);
    // A device is named where it wrote; what Bob wrote was for all of Alice's.
    assert.deepEqual((await page(bob, { with: alice.jid })).results.length, 20);
    assert.deepEqual((await page(bob, { start: all[20].at, end: all[20].at })).results.map(({ at }) => at)[0], all[20].at);
    assert.deepEqual((await page(bob, { ids: [all[3].id, all[17].id] })).results, [all[3], all[17]]);
    assert.equal((await page(bob, { with: bare(alice.user), max: 0 })).count, "30");
    const unknown = await bob.iq("set", query("q", { after: "100000" }));
    assert.equal(unknown.get("error").condition, "item-not-found", unknown.xml);
  });

  test("ends a page that a broken connection cut, when the stream is resumed", async () => {
    const [, bob] = await talked(40);
    bob.answers = false;
    const queryId = randomUUID();
    const before = bob.handled;
    await bob.iq("set", query(queryId, { max: 40 }));
    assert.equal(resultsOf(bob.waiting, queryId).length, 40);
    await bob.vanish();
    await shared.relay.kill();
    await shared.relay.restart();
    // Of the forty it had twelve.
    const back = await login(bob.user, { resume: true });
    assert.equal((await back.resume(bob, before + 12)).name, "resumed");
    const fin = await back.expect((frame) => frame.is("iq") && frame.get("fin", NS.mam) !== undefined, "<fin/>");
    assert.deepEqual(bodies(resultsOf(back.waiting, queryId)), numbered(40).slice(12));
    assert.equal(finOf(fin).complete, true);
  });

  test("of somebody else is nobody's to read", async () => {
    const [alice, bob] = await talked(3);
    const answer = await alice.iq("set", query("q"), { to: bare(bob.user) });
    assert.equal(answer.get("error").condition, "forbidden", answer.xml);
    assert.deepEqual(resultsOf(alice.waiting, "q"), []);
  });
});

// History that everybody has and that is older than a week moves out of the mailbox, and can be read,
// missed and deleted there. What a week does to the rows is done to them while the relay is down.
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { sharedRelay } from "../harness/relay.mjs";
import { COUNT, Tiers, history, written } from "../harness/tiers.mjs";
import { until } from "../harness/wait.mjs";
import { Wire, bare } from "../harness/wire.mjs";
import { NS } from "../harness/xml.mjs";

const shared = sharedRelay({ before, after, afterEach });
const tiers = new Tiers(shared);

describe("history older than a week", () => {
  test("moves, and is read as before, across crashes", async () => {
    const [ann, bob] = await tiers.talked();
    await tiers.age();
    for (const user of [ann, bob]) {
      const wire = await tiers.login(user);
      await until(`${user}'s history to move`, () => tiers.of(user)?.segments === 1);
      const { hot } = tiers.of(user);
      assert(hot < COUNT - 190, `${hot} rows are still in the log`);
      assert.equal(tiers.kept(user).length, 1);
      const { answer, found } = await history(wire);
      assert.equal(answer.get("fin", NS.mam)?.attrs.complete, "true", answer.xml);
      assert.deepEqual(found, written);
      await wire.close();
    }
    await shared.relay.kill();
    await shared.relay.restart();
    const wire = await tiers.login(bob);
    assert.deepEqual((await history(wire)).found, written);
    assert.deepEqual((await history(wire, "<before>100</before>")).found, written.slice(0, 99));
    // The log goes on where it was.
    wire.message(bare(bob), "to myself");
    const { found } = await history(wire, `<after>${COUNT}</after>`);
    assert.deepEqual(found, [`${COUNT + 2} to myself`]);
    await wire.close();
  });

  test("is not sent again, and a message of it is recognised when it is", async () => {
    const [ann, bob] = await tiers.talked();
    await tiers.age();
    const from = await tiers.login(ann);
    await until("the history to move", () => tiers.of(ann)?.segments === 1);
    from.message(bare(bob), "message 7", { origin: "origin-7", extra: `<accept xmlns='${NS.accepted}'/>` });
    const accepted = await from.expect((frame) => frame.is("message") && frame.all("accepted", NS.accepted).length > 0);
    assert.equal(accepted.get("accepted", NS.accepted).attrs["stanza-id"], "7");
    const to = await tiers.login(bob);
    await to.settle();
    assert.deepEqual(to.bodies, []);
    for (const wire of [from, to]) await wire.close();
  });

  test("of which a segment is missing is an error and not a gap, and is told the operator", async () => {
    const [, bob] = await tiers.talked();
    await tiers.age();
    const mover = await tiers.login(bob);
    await until("the history to move", () => tiers.of(bob)?.segments === 1);
    await mover.close();
    const [name] = tiers.kept(bob);
    await shared.relay.kill();
    tiers.stores("segment", (database, columns) => {
      if (columns.has("bytes")) database.prepare("DELETE FROM segment WHERE name = ?").run(name);
    });
    await shared.relay.restart();
    const wire = await tiers.login(bob);
    const { answer, found } = await history(wire);
    assert.equal(answer.attrs.type, "error", answer.xml);
    assert(answer.xml.includes("<internal-server-error"), answer.xml);
    assert.deepEqual(found, []);
    assert.match(shared.relay.stderr, /segment .* is Missing/);
    // What does not need it is served, on the same stream.
    const hot = tiers.of(bob).hot;
    const rest = await history(wire, `<after>${COUNT - hot}</after>`);
    assert.deepEqual(rest.found, written.slice(COUNT - hot));
    await wire.close();
  });

  test("goes with its account, and the answer comes when it is gone", async () => {
    const [, bob] = await tiers.talked();
    await tiers.age();
    const wire = await tiers.login(bob);
    await until("the history to move", () => tiers.of(bob)?.segments === 1);
    assert.equal(tiers.kept(bob).length, 1);
    const answer = await wire.iq("set", `<query xmlns='${NS.register}'><remove/></query>`);
    assert.equal(answer.attrs.type, "result", answer.xml);
    await shared.relay.kill();
    assert.equal(tiers.kept(bob).length, 0);
    assert.equal(tiers.of(bob), undefined);
    await shared.relay.restart();
    await assert.rejects(tiers.login(bob), /not-authorized/);
    await Wire.register(shared.relay, bob);
    const again = await tiers.login(bob);
    assert.deepEqual((await history(again)).found, []);
    await again.close();
  });
});

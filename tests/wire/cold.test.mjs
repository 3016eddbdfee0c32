// History that everybody has and that is older than a week moves out of the mailbox, and can be read,
// missed and deleted there. What a week does to the rows is done to them while the relay is down.
import assert from "node:assert/strict";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { after, afterEach, before, describe, test } from "node:test";
import { sharedRelay } from "../harness/relay.mjs";
import { until } from "../harness/wait.mjs";
import { Wire, bare } from "../harness/wire.mjs";
import { NS } from "../harness/xml.mjs";

const shared = sharedRelay({ before, after, afterEach });
const DAY_MS = 86_400_000;
const COUNT = 230;

/** Every object's store of one kind, by what `visit` makes of it. */
function stores(table, visit) {
  const { objects } = shared.relay;
  if (!existsSync(objects)) return [];
  const files = readdirSync(objects, { recursive: true }).filter((name) => name.endsWith(".sqlite"));
  return files.flatMap((file) => {
    const database = new DatabaseSync(join(objects, file), { readOnly: shared.relay.isUp });
    try {
      const columns = database.prepare(`SELECT name FROM pragma_table_info('${table}')`).all();
      return columns.length === 0 ? [] : [visit(database, new Set(columns.map((column) => column.name)))];
    } finally {
      database.close();
    }
  });
}

const isMailboxOf = (database, user) =>
  database.prepare("SELECT count(*) AS n FROM device WHERE device = ?").get(`of-${user}`).n > 0;

const mailbox = (user, visit) =>
  stores("log", (database) => (isMailboxOf(database, user) ? [visit(database)] : [])).flat()[0];

const count = (database, table) => database.prepare(`SELECT count(*) AS n FROM ${table}`).get().n;

const tiers = (user) =>
  mailbox(user, (database) => ({ hot: count(database, "log"), segments: count(database, "segment") }));

/** Names of all segments that are kept for `user`. */
const kept = (user) =>
  stores("segment", (database, columns) =>
    columns.has("bytes") ? database.prepare("SELECT name FROM segment").all().map((row) => row.name) : [],
  )
    .flat()
    .filter((name) => decodeURIComponent(name).startsWith(`${bare(user)}/`));

const login = (user) => Wire.login(shared.relay, user, { resource: `of-${user}` });

/** Two people, and what one wrote to the other and he has confirmed. */
async function talked() {
  const [ann, bob] = [await Wire.registered(shared.relay, "ann"), await Wire.registered(shared.relay, "bob")];
  const [from, to] = [await login(ann), await login(bob)];
  for (let n = 1; n <= COUNT; n += 1) {
    from.message(bare(bob), `message ${n}`, { origin: `origin-${n}` });
    if (n % 20 === 0) await from.settle();
  }
  await to.expectMessage(`message ${COUNT}`);
  to.ack();
  from.ack();
  await to.settle();
  await from.settle();
  for (const wire of [from, to]) await wire.close();
  return [ann, bob];
}

/** Ten days pass for everybody. */
async function age() {
  await shared.relay.kill();
  stores("log", (database) => database.exec(`UPDATE log SET at = at - ${10 * DAY_MS}`));
  await shared.relay.restart();
}

/** What the archive answers: bodies by id, or the error that came instead. */
async function history(wire, set = "") {
  wire.drop();
  const query = `<query xmlns='${NS.mam}' queryid='q'><set xmlns='${NS.rsm}'><max>250</max>${set}</set></query>`;
  const answer = await wire.iq("set", query);
  const found = [];
  wire.drop((frame) => {
    const result = frame.is("message") ? frame.get("result", NS.mam) : undefined;
    if (result === undefined) return false;
    const message = result.get("forwarded", NS.forward).get("message", NS.client);
    found.push(`${result.attrs.id} ${message.get("body", NS.client).text}`);
    wire.ack();
    return true;
  });
  return { answer, found };
}

const written = Array.from({ length: COUNT }, (_, i) => `${i + 1} message ${i + 1}`);

describe("history older than a week", () => {
  test("moves, and is read as before, across crashes", async () => {
    const [ann, bob] = await talked();
    await age();
    for (const user of [ann, bob]) {
      const wire = await login(user);
      await until(`${user}'s history to move`, () => tiers(user)?.segments === 1);
      const { hot } = tiers(user);
      assert(hot < COUNT - 190, `${hot} rows are still in the log`);
      assert.equal(kept(user).length, 1);
      const { answer, found } = await history(wire);
      assert.equal(answer.get("fin", NS.mam)?.attrs.complete, "true", answer.xml);
      assert.deepEqual(found, written);
      await wire.close();
    }
    await shared.relay.kill();
    await shared.relay.restart();
    const wire = await login(bob);
    assert.deepEqual((await history(wire)).found, written);
    assert.deepEqual((await history(wire, "<before>100</before>")).found, written.slice(0, 99));
    // The log goes on where it was.
    wire.message(bare(bob), "to myself");
    const { found } = await history(wire, `<after>${COUNT}</after>`);
    assert.deepEqual(found, [`${COUNT + 2} to myself`]);
    await wire.close();
  });

  test("is not sent again, and a message of it is recognised when it is", async () => {
    const [ann, bob] = await talked();
    await age();
    const from = await login(ann);
    await until("the history to move", () => tiers(ann)?.segments === 1);
    from.message(bare(bob), "message 7", { origin: "origin-7", extra: `<accept xmlns='${NS.accepted}'/>` });
    const accepted = await from.expect((frame) => frame.is("message") && frame.all("accepted", NS.accepted).length > 0);
    assert.equal(accepted.get("accepted", NS.accepted).attrs["stanza-id"], "7");
    const to = await login(bob);
    await to.settle();
    assert.deepEqual(to.bodies, []);
    for (const wire of [from, to]) await wire.close();
  });

  test("of which a segment is missing is an error and not a gap, and is told the operator", async () => {
    const [, bob] = await talked();
    await age();
    const mover = await login(bob);
    await until("the history to move", () => tiers(bob)?.segments === 1);
    await mover.close();
    const [name] = kept(bob);
    await shared.relay.kill();
    stores("segment", (database, columns) => {
      if (columns.has("bytes")) database.prepare("DELETE FROM segment WHERE name = ?").run(name);
    });
    await shared.relay.restart();
    const wire = await login(bob);
    const { answer, found } = await history(wire);
    assert.equal(answer.attrs.type, "error", answer.xml);
    assert(answer.xml.includes("<internal-server-error"), answer.xml);
    assert.deepEqual(found, []);
    assert.match(shared.relay.stderr, /segment .* is Missing/);
    // What does not need it is served, on the same stream.
    const hot = tiers(bob).hot;
    const rest = await history(wire, `<after>${COUNT - hot}</after>`);
    assert.deepEqual(rest.found, written.slice(COUNT - hot));
    await wire.close();
  });

  test("goes with its account, and the answer comes when it is gone", async () => {
    const [, bob] = await talked();
    await age();
    const wire = await login(bob);
    await until("the history to move", () => tiers(bob)?.segments === 1);
    assert.equal(kept(bob).length, 1);
    const answer = await wire.iq("set", `<query xmlns='${NS.register}'><remove/></query>`);
    assert.equal(answer.attrs.type, "result", answer.xml);
    await shared.relay.kill();
    assert.equal(kept(bob).length, 0);
    assert.equal(tiers(bob), undefined);
    await shared.relay.restart();
    await assert.rejects(login(bob), /not-authorized/);
    await Wire.register(shared.relay, bob);
    const again = await login(bob);
    assert.deepEqual((await history(again)).found, []);
    await again.close();
  });
});

// Old history in R2, as it is deployed: under wrangler, whose bucket keeps to R2's interface. What moves,
// when and why is `cold.test.mjs`'s to ask.
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { after, afterEach, before, describe, test } from "node:test";
import { sharedRelay } from "../harness/relay.mjs";
import { Tiers, history, isOf, written } from "../harness/tiers.mjs";
import { until } from "../harness/wait.mjs";
import { NS } from "../harness/xml.mjs";

const shared = sharedRelay({ before, after, afterEach }, { wrangler: true });
const tiers = new Tiers(shared);

/** Calls `visit` with each database in which the bucket notes its objects. */
function buckets(visit) {
  const folder = join(shared.relay.dir, "v3", "r2");
  const files = readdirSync(folder, { recursive: true }).filter((name) => name.endsWith(".sqlite"));
  return files.flatMap((file) => {
    const database = new DatabaseSync(join(folder, file), { readOnly: shared.relay.isUp });
    try {
      const noted = database.prepare("SELECT 1 FROM sqlite_master WHERE name = '_mf_objects'").get();
      return noted === undefined ? [] : visit(database);
    } finally {
      database.close();
    }
  });
}

/** Names of the objects of `user` in the bucket. */
const objects = (user) =>
  buckets((database) => database.prepare("SELECT key FROM _mf_objects").all().map((row) => row.key)).filter((key) =>
    isOf(key, user),
  );

/** Somebody with a week-old history, of which most is in the bucket. */
async function moved() {
  const [, bob] = await tiers.talked();
  await tiers.age();
  const wire = await tiers.login(bob);
  await until("the history to move", () => tiers.of(bob)?.segments === 1, { timeoutMs: 20_000 });
  return [bob, wire];
}

describe("old history in R2", () => {
  test("is read as before, across crashes", async () => {
    const [bob, wire] = await moved();
    assert.equal(objects(bob).length, 1);
    assert.equal(tiers.kept(bob).length, 0, "no object of ours keeps what the bucket has");
    assert.deepEqual((await history(wire)).found, written);
    await wire.close();
    await shared.relay.kill();
    await shared.relay.restart();
    const again = await tiers.login(bob);
    assert.deepEqual((await history(again, "<before>100</before>")).found, written.slice(0, 99));
    await again.close();
  });

  test("of which an object is missing is an error and not a gap", async () => {
    const [bob, mover] = await moved();
    await mover.close();
    await shared.relay.kill();
    buckets((database) => database.exec("DELETE FROM _mf_objects") ?? []);
    await shared.relay.restart();
    const wire = await tiers.login(bob);
    const { answer, found } = await history(wire);
    assert(answer.xml.includes("<internal-server-error"), answer.xml);
    assert.deepEqual(found, []);
    await wire.close();
  });

  test("goes with its account", async () => {
    const [bob, wire] = await moved();
    assert.equal(objects(bob).length, 1);
    const answer = await wire.iq("set", `<query xmlns='${NS.register}'><remove/></query>`, { timeoutMs: 20_000 });
    assert.equal(answer.attrs.type, "result", answer.xml);
    assert.equal(objects(bob).length, 0);
  });
});

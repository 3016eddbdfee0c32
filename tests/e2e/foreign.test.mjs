// The app and clients we did not write.
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { cast } from "../harness/cast.mjs";
import { LIBRARIES } from "../harness/foreign.mjs";
import { Ledger } from "../harness/ledger.mjs";
import { Proxy } from "../harness/proxy.mjs";
import { xmppUrl } from "../harness/relay.mjs";
import { sleep, until } from "../harness/wait.mjs";
import { Wire, bare, passwordOf, someone } from "../harness/wire.mjs";

const COUNT = 100;
const stage = cast({ before, after, afterEach });

for (const Library of LIBRARIES) {
  test(`the app and ${Library.label} exchange ${COUNT} messages each way over links that are cut`, { timeout: 180_000 }, async (t) => {
    const user = someone("foreigner");
    await Wire.register(stage.relay, user);
    const proxy = await Proxy.start(stage.relay.port);
    const foreigner = new Library({ user, password: passwordOf(user), url: xmppUrl(proxy.port) });
    t.after(async () => {
      await foreigner.stop();
      await proxy.stop();
    });
    await foreigner.start();
    foreigner.answersRequests = true;
    const alice = await stage.registered("alice");
    await alice.tab.openChat(bare(user));

    const ledger = new Ledger();
    const ids = new Map();
    foreigner.onMessage = (body) => ledger.deliver("foreigner", body);
    let left = 2 * COUNT;
    const fromApp = async () => {
      for (let n = 1; n <= COUNT; n += 1, left -= 1) {
        const text = `the app says ${n}`;
        // Before sending: the answer may be quicker than the bubble.
        ledger.attempt("alice", "foreigner", text);
        await alice.tab.send(text);
      }
    };
    const fromLibrary = async () => {
      for (let n = 1; n <= COUNT; n += 1, left -= 1) {
        const text = ledger.attempt("foreigner", "alice", `the library says ${n}`);
        ids.set(foreigner.send(alice.jid, text, { request: true }), text);
        await sleep(60);
      }
    };
    let cuts = 0;
    const disturb = async () => {
      while (left > 0) {
        await sleep(1_500);
        if (left === 0) return;
        [proxy, alice.proxy][cuts % 2].cut();
        cuts += 1;
      }
    };
    await Promise.all([fromApp(), fromLibrary(), disturb()]);
    await alice.tab.idle(60_000);
    const incoming = async () => (await alice.tab.rows()).filter((row) => row.direction === "Incoming");
    await until("everything to arrive", async () => {
      ledger.replace("alice", (await incoming()).map((row) => row.body));
      return ledger.isComplete() && foreigner.acknowledged.length === COUNT;
    }, { timeoutMs: 40_000, everyMs: 300, detail: () => ledger.table() });
    await until("the library's receipts to count in the app", async () => {
      const own = (await alice.tab.rows()).filter((row) => row.direction === "Outgoing");
      return own.length === COUNT && own.every((row) => row.status === "Delivered");
    }, { timeoutMs: 30_000, everyMs: 300 });
    await until("the app's receipts to reach the library", () => [...ids.keys()].every((id) => foreigner.receipts.has(id)), {
      timeoutMs: 30_000,
    });
    await sleep(1_000);
    ledger.replace("alice", (await incoming()).map((row) => row.body));
    for (const row of await alice.tab.rows()) if (row.direction === "Outgoing") ledger.acknowledge(row.body);
    for (const id of foreigner.acknowledged) ledger.acknowledge(ids.get(id));
    ledger.assertClean();
    assert(cuts >= 2, "the links were hardly cut");
    await alice.tab.assertShowsNewest();
  });
}

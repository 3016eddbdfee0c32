// Several tabs of one account: one of them leads, any of them can go.
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { cast } from "../harness/cast.mjs";
import { Ledger } from "../harness/ledger.mjs";
import { introduce } from "../harness/talk.mjs";
import { until } from "../harness/wait.mjs";

const stage = cast({ before, after, afterEach });

async function twoTabs() {
  const [alice, bob] = [await stage.registered("alice"), await stage.registered("bob")];
  await introduce([alice, bob]);
  await alice.tab.send("from the first tab");
  const first = alice.tab;
  const second = await alice.newTab();
  await second.online();
  await second.openChat(bob.jid);
  return { alice, bob, first, second };
}

const hears = (tab, text) => tab.bubble(text).first().waitFor({ timeout: 20_000 });

test("a second tab shows the history, sends, receives, and opens no second stream", { timeout: 90_000 }, async () => {
  const { alice, bob, first, second } = await twoTabs();
  await hears(second, "from the first tab");
  await second.send("from the second tab");
  await hears(bob.tab, "from the second tab");
  await hears(first, "from the second tab");
  await bob.tab.send("to both tabs");
  await hears(first, "to both tabs");
  await hears(second, "to both tabs");
  await second.waitStatus("from the second tab", "delivered", "read");
  await first.waitStatus("from the second tab", "delivered", "read");
  assert.deepEqual(await first.timeline(), await second.timeline());
  assert.equal(alice.proxy.seen("<enabled") + alice.proxy.seen("<resumed"), 1);
});

for (const [how, end] of [
  ["is closed", (alice, tab) => alice.closeTab(tab)],
  ["crashes", (alice, tab) => alice.crashTab(tab)],
]) {
  test(`the second tab takes over when the leading one ${how}, and resumes its stream`, { timeout: 90_000 }, async () => {
    const { alice, bob, first, second } = await twoTabs();
    await second.idle();
    await end(alice, first);
    await second.send("is anybody leading?");
    await hears(bob.tab, "is anybody leading?");
    await second.waitFor("resumed", ({ state, resumed }) => state === "online" && resumed);
    await bob.tab.send("you are");
    await hears(second, "you are");
    assert.equal(alice.proxy.seen("<enabled"), 1);
    await second.assertShowsNewest();
  });
}

test("every tab says that the stores fail, and that they work again", { timeout: 90_000 }, async () => {
  const { first, second } = await twoTabs();
  await first.page.evaluate(() => {
    const { put } = IDBObjectStore.prototype;
    globalThis.mend = () => (IDBObjectStore.prototype.put = put);
    IDBObjectStore.prototype.put = () => {
      throw new DOMException("no room", "QuotaExceededError");
    };
  });
  await second.get("composer-input").fill("written into the void");
  await second.get("send-button").click();
  for (const tab of [first, second]) await tab.get("store-fault").waitFor({ timeout: 20_000 });
  await first.page.evaluate(() => globalThis.mend());
  for (const tab of [first, second]) await tab.get("store-fault").waitFor({ state: "detached", timeout: 30_000 });
  await second.waitStatus("written into the void", "sent", "delivered", "read");
});

test("both tabs write at once, the leader is closed amid it, and nothing is lost or doubled", { timeout: 120_000 }, async () => {
  const { alice, bob, first, second } = await twoTabs();
  const ledger = new Ledger();
  ledger.acknowledge(ledger.attempt("alice in first", "bob", "from the first tab"));
  const write = async (tab, name, count) => {
    for (let n = 1; n <= count; n += 1) {
      const text = `${name} tab ${n}`;
      await tab.send(text);
      ledger.attempt(`alice in ${name}`, "bob", text);
    }
  };
  const firstDone = write(first, "first", 10).then(() => alice.closeTab(first));
  await Promise.all([firstDone, write(second, "second", 40)]);
  await second.idle();
  const incoming = async () => (await bob.tab.rows(alice.jid)).filter((row) => row.direction === "Incoming");
  await until("all of them", async () => {
    ledger.replace("bob", (await incoming()).map((row) => row.body));
    return ledger.isComplete();
  }, { timeoutMs: 30_000, detail: () => ledger.table() });
  await bob.tab.idle();
  ledger.replace("bob", (await incoming()).map((row) => row.body));
  ledger.assertClean({ acknowledged: false });
  await bob.tab.assertShowsNewest();
  await second.assertShowsNewest();
});

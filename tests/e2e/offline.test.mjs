// Absence: of the recipient, of the network, of the browser.
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { cast } from "../harness/cast.mjs";
import { Ledger } from "../harness/ledger.mjs";
import { introduce } from "../harness/talk.mjs";
import { until } from "../harness/wait.mjs";

const stage = cast({ before, after, afterEach });
const couple = async () => {
  const people = [await stage.registered("alice"), await stage.registered("bob")];
  await introduce(people);
  return people;
};

/** What `person` has received from `peer`, once `count` have come. */
async function received(person, peer, count) {
  const incoming = async () => (await person.tab.rows(peer.jid)).filter((row) => row.direction === "Incoming");
  await until(`${count} messages at ${person.user}`, async () => (await incoming()).length >= count, { timeoutMs: 30_000 });
  await person.tab.idle();
  return (await incoming()).map((row) => row.body);
}

test("twenty-five messages wait for a closed browser, arrive in order, and are reported one by one", { timeout: 120_000 }, async () => {
  const [alice, bob] = await couple();
  await bob.tab.idle();
  await bob.close();
  const ledger = new Ledger();
  for (let n = 1; n <= 25; n += 1) {
    const text = ledger.attempt("alice", "bob", `while you were out ${n}`);
    await alice.tab.send(text);
    await alice.tab.waitStatus(text, "sent");
    ledger.acknowledge(text);
  }
  await bob.launch();
  await bob.tab.visit();
  await bob.tab.online();
  ledger.replace("bob", await received(bob, alice, 25));
  ledger.assertClean();
  await until("every message to be reported delivered", async () => {
    const rows = (await alice.tab.rows()).filter((row) => row.direction === "Outgoing");
    return rows.length === 25 && rows.every((row) => ["Delivered", "Read"].includes(row.status) && row.times);
  });
  await bob.tab.openChat(alice.jid);
  await bob.tab.assertShowsNewest();
  await alice.tab.assertShowsNewest();
});

test("what was written offline survives closing the browser, and the app opens without a network", { timeout: 120_000 }, async () => {
  const [alice, bob] = await couple();
  await bob.tab.send("before the tunnel");
  await alice.tab.bubble("before the tunnel").waitFor();
  await alice.tab.installed();
  await alice.tab.idle();

  alice.proxy.down();
  await alice.tab.notOnline();
  const texts = [1, 2, 3, 4, 5].map((n) => `from the tunnel ${n}`);
  for (const text of texts) await alice.tab.send(text);
  await alice.close();

  await alice.launch();
  await alice.tab.visit();
  await alice.tab.openChat(bob.jid);
  await alice.tab.bubble("before the tunnel").waitFor();
  for (const text of texts) assert.equal(await alice.tab.status(text), "queued");
  assert.equal((await alice.tab.link()).outbox, 5);
  assert.notEqual((await alice.tab.link()).state, "online");

  alice.proxy.heal();
  assert.deepEqual(await received(bob, alice, 5), texts);
  await alice.tab.idle();
  for (const text of texts) await alice.tab.waitStatus(text, "delivered", "read");
  await bob.tab.assertShowsNewest();
});

test("what was written offline survives a killed browser", { timeout: 120_000 }, async () => {
  const [alice, bob] = await couple();
  await alice.tab.installed();
  alice.proxy.down();
  await alice.tab.notOnline();
  const texts = [1, 2, 3].map((n) => `last words ${n}`);
  for (const text of texts) await alice.tab.send(text);
  await alice.kill();
  await alice.launch();
  await alice.tab.visit();
  await alice.tab.openChat(bob.jid);
  for (const text of texts) assert.equal(await alice.tab.status(text), "queued");
  alice.proxy.heal();
  assert.deepEqual(await received(bob, alice, 3), texts);
});

test("a draft survives a killed browser", { timeout: 60_000 }, async () => {
  const [alice, bob] = await couple();
  await alice.tab.get("composer-input").fill("not yet fini");
  await until("the draft to be stored", async () =>
    (await alice.tab.store("conversations")).some((row) => row.jid === bob.jid && row.draft === "not yet fini"));
  await alice.kill();
  await alice.launch();
  await alice.tab.visit();
  await alice.tab.openChat(bob.jid);
  await until("the draft", async () => (await alice.tab.get("composer-input").inputValue()) === "not yet fini");
});

test("a stream that was cut is resumed, not begun anew", { timeout: 60_000 }, async () => {
  const [alice, bob] = await couple();
  await alice.tab.idle();
  for (let n = 1; n <= 3; n += 1) {
    const before = alice.proxy.seen("<resumed");
    alice.proxy.cut();
    await until("a resumption", () => alice.proxy.seen("<resumed") > before, { timeoutMs: 15_000 });
    await alice.tab.waitFor("resumed", ({ state, resumed }) => state === "online" && resumed);
    await bob.tab.send(`cut ${n}`);
    await alice.tab.bubble(`cut ${n}`).waitFor();
  }
  assert.equal(alice.proxy.seen("<enabled"), 1);
});

test("a reload resumes the stream too", { timeout: 60_000 }, async () => {
  const [alice, bob] = await couple();
  await alice.tab.idle();
  await alice.tab.visit();
  await alice.tab.waitFor("resumed", ({ state, resumed }) => state === "online" && resumed);
  await bob.tab.send("after the reload");
  await alice.tab.openChat(bob.jid);
  await alice.tab.bubble("after the reload").waitFor();
  assert.equal(alice.proxy.seen("<enabled"), 1);
});

test("a long history opens at its newest page and gives older ones on scrolling up", { timeout: 180_000 }, async () => {
  const [alice, bob] = await couple();
  for (let n = 1; n <= 120; n += 1) await alice.tab.send(`line ${n}`);
  await received(bob, alice, 120);
  await bob.tab.visit();
  await bob.tab.openChat(alice.jid);
  await bob.tab.bubble("line 120").waitFor();
  const lines = async () => (await bob.tab.timeline()).map(({ body }) => Number(body.split(" ")[1]));
  assert(!(await lines()).includes(1), "the whole history was loaded at once");
  await until("the first line", async () => {
    await bob.tab.scroll(-5_000);
    return (await lines()).includes(1);
  }, { timeoutMs: 20_000, everyMs: 200 });
  const shown = await lines();
  assert.deepEqual(shown, shown.toSorted((a, b) => a - b));
  assert.equal(new Set(shown).size, shown.length);
});

// Two people at browsers write to each other while something goes wrong.
import assert from "node:assert/strict";
import { Ledger } from "./ledger.mjs";
import { StatusWatch } from "./tab.mjs";
import { sleep, until } from "./wait.mjs";

const TRIES_MAX = 40;

/**
 * Sends through a tab that may die at any moment. The row decides: a text whose row is there was
 * sent, one whose row is not was never promised anything.
 */
async function sendSurely(person, peer, text) {
  let fault;
  for (let tries = 0; tries < TRIES_MAX; tries += 1) {
    await person.opening;
    const { tab } = person;
    try {
      if (tries > 0 && (await tab.has(text, peer))) return;
      await tab.send(text);
      return;
    } catch (error) {
      fault = error;
      if (!tab.isGone && person.opening === undefined && tries >= 3) throw error;
      await sleep(200);
    }
  }
  throw new Error(`could not send ${text}`, { cause: fault });
}

/**
 * Each of two people writes `count` messages, one every `paceMs` at most; `disturb(isBusy)` runs
 * meanwhile. Answers the settled ledger and the status watches.
 */
export async function talk(people, { count, paceMs, disturb, settleMs = 90_000 }) {
  const ledger = new Ledger();
  const watches = people.map(() => new StatusWatch());
  let left = people.length * count;
  const peerOf = (i) => people[1 - i];

  const write = async (person, i) => {
    for (let n = 1; n <= count; n += 1) {
      const next = sleep(paceMs);
      const text = `${person.user} says ${n}`;
      await sendSurely(person, peerOf(i).jid, text);
      ledger.attempt(person.user, peerOf(i).user, text);
      left -= 1;
      await next;
    }
  };
  const watch = async () => {
    while (left > 0) {
      await sleep(1_500);
      await look(people, watches).catch(() => {}); // a tab that is just dying cannot be looked at
    }
  };
  const started = Date.now();
  await Promise.all([...people.map(write), watch(), disturb(() => left > 0)]);
  console.log(`# written in ${((Date.now() - started) / 1_000).toFixed(1)} s`);
  for (const person of people) {
    await person.opening;
    await person.tab.idle(settleMs);
  }
  const take = async () => {
    const all = await look(people, watches);
    for (const [i, rows] of all.entries()) {
      const incoming = rows.filter((row) => row.direction === "Incoming");
      ledger.replace(people[i].user, incoming.map((row) => row.body));
    }
    return all;
  };
  const statuses = (all) => all.flat().filter((row) => row.direction === "Outgoing").map((row) => row.status);
  await until("everything to arrive and to be confirmed", async () => {
    const all = await take();
    return ledger.isComplete() && statuses(all).every((status) => ["Delivered", "Read"].includes(status));
  }, { timeoutMs: settleMs, everyMs: 500, detail: () => ledger.table() });
  await sleep(2_000); // time for a duplicate to show itself
  const all = await take();
  for (const rows of all) {
    const own = rows.filter((row) => row.direction === "Outgoing");
    assert.equal(own.length, count, "a sender's own history is not what was written");
    for (const row of own) if (row.status !== "Queued" && row.status !== "Failed") ledger.acknowledge(row.body);
    const texts = own.map((row) => row.body);
    assert.deepEqual(texts, texts.toSorted((a, b) => numberOf(a) - numberOf(b)), "own order changed");
  }
  return { ledger, watches };
}

/** What must hold after every talk, whatever went wrong in it. */
export async function assertSettled(people, { ledger, watches }) {
  ledger.assertClean();
  for (const watch of watches) watch.assertMonotone();
  for (const person of people) {
    await person.tab.assertShowsNewest();
    const { outbox, owed } = await person.tab.link();
    assert.deepEqual([outbox, owed], [0, 0], `${person.user} still owes something`);
    assert.deepEqual(await person.tab.store("outbox"), []);
    assert.deepEqual(await person.tab.store("owed"), []);
  }
}

/** Both have an account, are online, and have opened the conversation with the other. */
export async function introduce(people) {
  for (const [i, person] of people.entries()) await person.tab.openChat(people[1 - i].jid);
}

async function look(people, watches) {
  const all = [];
  for (const [i, person] of people.entries()) {
    const rows = await person.tab.rows(people[1 - i].jid);
    watches[i].look(rows);
    all.push(rows);
  }
  return all;
}

const numberOf = (text) => Number(text.split(" ").at(-1));

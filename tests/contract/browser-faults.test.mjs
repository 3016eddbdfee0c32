// What can go wrong with a browser's store beside a bad row: a request that fails, a quota that is
// used up, a browser that is killed while it writes, another tab that has taken the lead.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { Random } from "../harness/random.mjs";
import { sleep } from "../harness/wait.mjs";
import { BrowserStore, Page } from "./browser.mjs";
import { rowsDifference } from "./play.mjs";

const KILLS = 6;
const QUOTA_BYTES = 1_000_000;
const BATCH_ROWS = 4;

const message = (key, order, body) => ({
  key, order, body, conversation: "ann@localhost", at: order, direction: "Incoming", status: "Delivered",
  times: { sent: null, delivered: null, read: null }, failure: null, id: "id", awaiting: 1,
});
const outbox = (order) => ({
  origin: "origin", order, to: "ann@localhost", body: "body", created: 1, tries: 0, sent_as: null,
});
const session = (seen) => ({ sm_id: "sm", stream: 1, handled: 2, bound: "bound", seen });

/** Batch `number` from 1, in four stores: messages stay, the others are written over. */
const batch = (number, body = "body") => [
  { PutSession: session(number) },
  { PutMessage: message(`m${number}`, number, body) },
  { PutOutbox: outbox(number) },
  { DeleteOwed: "never there" },
];

/** What stands after `number` batches. */
const standing = (number, body = "body") => {
  const messages = Array.from({ length: number }, (_, i) => message(`m${i + 1}`, i + 1, body));
  return {
    account: null,
    session: number ? session(number) : null,
    outbox: number ? [outbox(number)] : [],
    owed: [],
    conversations: [],
    awaiting: messages,
    recent: messages.map(({ key }) => key),
  };
};

describe("a browser's store under faults", () => {
  let page;
  before(async () => (page = await Page.start()));
  after(() => page.stop());
  const stores = () => new BrowserStore(page, `faults-${randomUUID()}`);
  const stands = async (store, number, body) =>
    assert.equal(rowsDifference(await store.rows(), standing(number, body)), undefined);

  for (const [what, how] of [
    ["cannot be made", { how: "throw", name: "DataError" }],
    ["fails", { how: "fail" }],
    ["the browser aborts", { how: "abort" }],
  ]) {
    test(`a write that ${what} leaves nothing of its batch, wherever it is`, async () => {
      const store = stores();
      await store.commit(batch(1));
      for (let place = 0; place < BATCH_ROWS; place += 1) {
        await page.hinder({ ...how, after: place });
        assert.equal(await store.commit(batch(2)), false, `write ${place} failed and the batch was taken`);
        assert.equal(store.fault, "Broken");
        await stands(store, 1);
      }
      await page.hinder({ ...how, after: 1 });
      assert.equal(await store.commit(["Clear", ...batch(2)]), false);
      await stands(store, 1);
      await store.openAnew();
      await stands(store, 1);
      assert(await store.commit(batch(2)), store.fault);
      await stands(store, 2);
      // A callback that is called after its transaction was given up would be.
      assert.deepEqual(page.uncaught, []);
    });
  }

  test("a handle that was lost is opened anew, and the batch stands once", async () => {
    const store = stores();
    await store.commit(batch(1));
    for (const [name, number] of [["InvalidStateError", 2], ["UnknownError", 3], ["AbortError", 4]]) {
      await page.hinder({ how: "throw", name, after: 2 });
      assert(await store.commit(batch(number)), `${name}: ${store.fault}`);
      assert.equal(await page.isHindered(), false);
      await stands(store, number);
    }
  });

  test("SIGKILL while batches are written leaves each whole or not there, and none that was reported is lost", async () => {
    const random = Random.announced("contract, browser killed");
    const store = stores();
    const body = "x".repeat(20_000);
    let [reported, unreported] = [0, 0];
    for (let round = 0; round < KILLS; round += 1) {
      let [isUp, begun, told] = [true, reported, reported];
      await stands(store, reported, body);
      const writing = (async () => {
        while (isUp) {
          begun += 1;
          assert(await store.commit(batch(begun, body)), store.fault);
          told = begun;
        }
      })().catch((error) => isUp && assert.fail(error));
      await sleep(random.between(20, 200));
      isUp = false;
      await page.killNow();
      await writing;
      await page.launch();
      const { seen } = (await store.rows()).session;
      assert(seen >= told, `${told} batches were reported and ${seen} stand`);
      assert(seen <= begun, `${begun} batches were begun and ${seen} stand`);
      await stands(store, seen, body);
      if (seen > told) unreported += 1;
      reported = seen;
    }
    console.log(`# ${reported} batches over ${KILLS} kills; ${unreported} stood without having been reported`);
  });

  test("who led before is refused, and leaves nothing", async () => {
    const name = `fenced-${randomUUID()}`;
    const [first, second] = [new BrowserStore(page, name), new BrowserStore(page, name)];
    const isFenced = async (store, ops) => {
      assert.equal(await store.commit(ops), false, "a tab wrote that no longer leads");
      assert.equal(store.fault, "Fenced");
    };
    await first.commit(batch(1));
    await second.commit(batch(2));
    await isFenced(first, batch(7));
    await isFenced(first, []);
    await isFenced(first, ["Clear"]);
    await stands(second, 2);
    // Signing out gives the lead to nobody.
    assert(await second.commit(["Clear", ...batch(1)]), second.fault);
    await isFenced(first, batch(7));
    await stands(second, 1);
    await second.openAnew();
    await isFenced(first, batch(7));
    await second.lead();
    await isFenced(first, batch(7));
    await first.lead();
    assert(await first.commit(batch(2)), first.fault);
    await isFenced(second, batch(7));
    await page.kill();
    await page.launch();
    await stands(first, 2);
    await first.lead();
    await second.lead();
    await isFenced(first, batch(7));
    assert(await second.commit(batch(3)), second.fault);
    await stands(first, 3);
  });

  test("of tabs that take the lead at once one leads", async () => {
    const name = `race-${randomUUID()}`;
    const tabs = Array.from({ length: 8 }, () => new BrowserStore(page, name));
    await Promise.all(tabs.map((tab) => tab.rows()));
    for (let round = 1; round <= 5; round += 1) {
      await Promise.all(tabs.map((tab) => tab.lead()));
      const taken = await Promise.all(tabs.map((tab) => tab.commit([{ PutSession: session(round) }])));
      assert.equal(taken.filter(Boolean).length, 1, `in round ${round} tabs wrote: ${taken}`);
      assert(tabs.every((tab, i) => taken[i] || tab.fault === "Fenced"));
    }
  });

  // What is left of an account would be half of one.
  test("stores that the browser has wiped are not written to by who led them", async () => {
    const store = stores();
    await store.commit(batch(1));
    await page.wipe();
    assert.equal(await store.commit(batch(2)), false, "a batch was written to other stores than it was made for");
    assert.equal(store.fault, "Fenced");
    await stands(store, 0);
    await store.lead();
    assert(await store.commit(batch(1)), store.fault);
    await stands(store, 1);
  });

  test("who led before the stores were wiped is refused also when another leads the new ones", async () => {
    const name = `wiped-${randomUUID()}`;
    const [first, second] = [new BrowserStore(page, name), new BrowserStore(page, name)];
    await first.commit(batch(1));
    await page.wipe();
    await second.commit(batch(1));
    assert.equal(await first.commit(batch(2)), false, "a tab wrote that no longer leads");
    assert.equal(first.fault, "Fenced");
    await stands(second, 1);
  });

  // A commit is what others are told about: nothing less than the disk will do.
  test("every transaction that writes asks for strict durability, and gets it", async () => {
    const store = stores();
    for (const op of ["Clear", ...batch(1)]) assert(await store.commit([op]), store.fault);
    const writes = await page.collect();
    assert(writes.length > 50, `${writes.length} transactions were watched`);
    assert.deepEqual(writes.filter(({ asked, got }) => asked !== "strict" || got !== "strict"), []);
  });
});

describe("a browser's store at its quota", () => {
  let page;
  before(async () => (page = await Page.start()));
  after(() => page.stop());

  test("a batch for which there is no room leaves nothing; when there is room again the store goes on", async () => {
    // Chromium remembers for seconds how much room there was: the quota comes first.
    await page.quota(QUOTA_BYTES);
    const store = new BrowserStore(page, "full");
    const body = "x".repeat(QUOTA_BYTES / 20);
    const stands = async (number) => assert.equal(rowsDifference(await store.rows(), standing(number, body)), undefined);
    let written = 0;
    while (await store.commit(batch(written + 1, body))) {
      written += 1;
      assert(written < 100, "the quota is never used up");
    }
    assert(written > 0, "there was no room from the start");
    for (const tooMuch of [body, "x".repeat(QUOTA_BYTES), "语".repeat(QUOTA_BYTES / 2)]) {
      assert.equal(await store.commit(batch(written + 1, tooMuch)), false, "a batch was taken for which there is no room");
      assert.equal(store.fault, "Full");
      await stands(written);
      await store.openAnew();
      await stands(written);
    }
    await page.quota();
    assert(await store.commit(batch(written + 1, body)), store.fault);
    await page.kill();
    await page.launch();
    await stands(written + 1);
    console.log(`# ${written} batches in ${QUOTA_BYTES} bytes`);
  });
});

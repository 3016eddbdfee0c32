// The store contract on IndexedDB, in Chromium. At a reopening the databases are closed and opened
// anew, or the browser is killed, in turns.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { BrowserStore, Page } from "./browser.mjs";
import { Lockstep, play, scriptsOf } from "./play.mjs";

const { seed, empty, scripts } = scriptsOf("browser");

describe(`the store contract on IndexedDB (SEED=${seed})`, { concurrency: scripts.length }, () => {
  let page;
  let operations = 0;
  const stores = [];
  const lockstep = new Lockstep(scripts.length, async (number) => {
    if (number % 2 === 0) {
      await Promise.all(stores.map((store) => store.openAnew()));
    } else {
      await page.kill();
      await page.launch();
    }
  });
  before(async () => (page = await Page.start()));
  after(async () => {
    const { interruptions } = lockstep;
    const writes = await page.collect();
    await page.stop();
    const kills = Math.floor(interruptions / 2);
    console.log(`# ${scripts.length} scripts, ${operations} operations, ${writes.length} transactions, ` +
      `opened anew ${interruptions - kills} times, browser killed ${kills} times`);
    assert(writes.length > scripts.length, "transactions were not watched");
    assert.deepEqual(writes.filter(({ asked }) => asked !== "strict"), []);
  });

  for (const [number, script] of scripts.entries()) {
    test(script.name, async () => {
      const store = new BrowserStore(page, `script-${number}`, () => lockstep.reopen());
      stores.push(store);
      try {
        const stood = await play(script, empty, store);
        operations += stood;
      } finally {
        stores.splice(stores.indexOf(store), 1);
        lockstep.leave();
      }
    });
  }
});

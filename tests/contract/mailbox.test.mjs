// The store contract on a mailbox's SQLite, in workerd, which is killed at every reopening.
import { after, before, describe, test } from "node:test";
import { MailboxStore, startRelay } from "./mailbox.mjs";
import { Lockstep, play, scriptsOf } from "./play.mjs";

const { seed, empty, scripts } = scriptsOf("mailbox");

describe(`the store contract on SQLite (SEED=${seed})`, { concurrency: scripts.length }, () => {
  let relay;
  let operations = 0;
  const lockstep = new Lockstep(scripts.length, async () => {
    await relay.kill();
    await relay.restart();
  });
  before(async () => (relay = await startRelay()));
  after(async () => {
    relay.assertAlive();
    console.log(`# ${scripts.length} scripts, ${operations} operations, workerd killed ${relay.kills} times`);
    await relay.stop();
  });

  for (const [number, script] of scripts.entries()) {
    test(script.name, async () => {
      const store = new MailboxStore(relay, `script-${number}`, () => lockstep.reopen());
      try {
        const stood = await play(script, empty, store);
        operations += stood;
      } finally {
        lockstep.leave();
      }
    });
  }
});

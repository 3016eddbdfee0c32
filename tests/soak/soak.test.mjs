// The same checkers on reality: a real relay that is killed again and again, devices behind links
// that break, everybody writing to everybody. MINUTES says how long, SEED repeats a schedule.
import { test } from "node:test";
import { Random } from "../harness/random.mjs";
import { Soak } from "./soak.mjs";

const MINUTES = Number(process.env.MINUTES ?? 1);
const QUIET_MS_MAX = 150_000;
const timeout = MINUTES * 60_000 + 2 * QUIET_MS_MAX;

test(`everything written in ${MINUTES} minutes of disasters appears once and in order`, { timeout }, async (t) => {
  const soak = await Soak.prepare(Random.announced(`soak of ${MINUTES} minutes`), MINUTES);
  t.after(() => soak.stop());
  await soak.run();
  await soak.heal(QUIET_MS_MAX);
  soak.books.close();
  soak.tell();
  soak.assertClean();
  soak.assertDisturbed();
});

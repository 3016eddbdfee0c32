// The doors to the stores are in no build that serves anybody.
import assert from "node:assert/strict";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { APP_DIR, RELAY_DIR } from "../harness/env.mjs";
import { CONTRACT_DIR } from "./play.mjs";

const modules = (dir) =>
  existsSync(dir) ? readdirSync(dir).filter((name) => name.endsWith(".wasm")).map((name) => join(dir, name)) : [];

for (const [what, dir, door, word] of [
  ["relay", RELAY_DIR, join(CONTRACT_DIR, "relay"), "/contract/"],
  ["app", APP_DIR, join(CONTRACT_DIR, "client"), "the tab does not lead"],
]) {
  test(`the ${what} has no door to its store`, (t) => {
    const opens = (module) => readFileSync(module).includes(word);
    assert(modules(door).some(opens), `the ${what} of this suite has none either: the test is blind`);
    if (modules(dir).length === 0) return t.skip(`there is no other build in ${dir}`);
    assert.deepEqual(modules(dir).filter(opens), []);
  });
}

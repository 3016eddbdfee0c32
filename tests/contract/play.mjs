// Plays the contract's scripts to a store, and says where what stands is not what should.
//
// A store is { commit(ops): did it stand?, rows(), reopen(), ask({ ask, with }) }. Numbers that a
// double does not hold are BigInts here and themselves again on the way out.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "../harness/env.mjs";

/** Where scripts, relay and page were put for this suite. */
export const CONTRACT_DIR = process.env.COUNTERFOIL_CONTRACT ?? join(ROOT, "target/contract");
const VALUE_CHARS_MAX = 300;

export const parsed = (text) =>
  JSON.parse(text, (_, value, { source }) => {
    if (typeof value === "number" && !Number.isSafeInteger(value) && /^\d+$/.test(source)) return BigInt(source);
    if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
    // Equal rows are the same text, whatever order their fields came in.
    return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
  });

export const written = (value) =>
  JSON.stringify(value, (_, inner) => (typeof inner === "bigint" ? JSON.rawJSON(inner.toString()) : inner));

/** { seed, empty, scripts } as the crate `tests` has written them. */
export const scriptsOf = (kind) => parsed(readFileSync(join(CONTRACT_DIR, `${kind}.json`), "utf8"));

// Rows of these lists have no order of their own. (Log, recent keys and pages have one.)
const UNORDERED = new Set(["devices", "peers", "nodes", "items", "outbox", "owed", "conversations", "awaiting"]);

/** Rows in an order that any two equal sets of them share. */
const sorted = (list) => list.map((row) => [written(row), row]).sort(([a], [b]) => (a < b ? -1 : 1)).map(([, row]) => row);

const comparable = (rows) =>
  Object.fromEntries(Object.entries(rows).map(([name, value]) => [name, UNORDERED.has(name) ? sorted(value) : value]));

/** The first place where two values differ, in words; undefined if they are the same. */
export function difference(found, wanted, path = "rows") {
  if (Object.is(found, wanted)) return undefined;
  const isObject = (value) => typeof value === "object" && value !== null;
  if (!isObject(found) || !isObject(wanted) || Array.isArray(found) !== Array.isArray(wanted)) {
    return `${path} is ${clipped(found)} and should be ${clipped(wanted)}`;
  }
  if (Array.isArray(found) && found.length !== wanted.length) {
    return `${path} has ${found.length} entries and should have ${wanted.length}: ${clipped(found)} is not ${clipped(wanted)}`;
  }
  for (const name of new Set([...Object.keys(found), ...Object.keys(wanted)])) {
    const inner = difference(found[name], wanted[name], Array.isArray(found) ? `${path}[${name}]` : `${path}.${name}`);
    if (inner) return inner;
  }
  return undefined;
}

const clipped = (value) => {
  const text = value === undefined ? "missing" : written(value);
  return text.length > VALUE_CHARS_MAX ? `${text.slice(0, VALUE_CHARS_MAX)}… (${text.length} characters)` : text;
};

/** As [`difference`], for rows: the same rows in another order are the same. */
export const rowsDifference = (found, wanted) => difference(comparable(found), comparable(wanted));

/** What was asked, in a form in which equal answers are equal. */
function answerDifference({ ask }, found, wanted) {
  const unordered = { sources: 0, received: 0, news: 1 }[ask];
  if (unordered === undefined) return difference(found, wanted, ask);
  const form = (answer) => (unordered ? answer.map((list) => sorted(unique(list))) : sorted(answer));
  return difference(form(found), form(wanted), ask);
}

const unique = (list) => [...new Map(list.map((row) => [written(row), row])).values()];

/** Plays one script. After each step, what stands is what must. Answers how many operations stood. */
export async function play({ name, steps }, empty, store) {
  let rows = empty;
  let operations = 0;
  for (const [number, step] of steps.entries()) {
    const where = `"${name}", step ${number} (${step.step})`;
    try {
      if (step.step === "commit") {
        rows = step.rows;
        operations += step.ops.length;
      }
      const wrong = (await outcome(step, store)) ?? rowsDifference(await store.rows(), rows);
      if (wrong) throw new Error(wrong);
    } catch (error) {
      throw new Error(`${where}: ${error.message}`);
    }
  }
  return operations;
}

/** What went wrong with one step, in words. */
async function outcome(step, store) {
  switch (step.step) {
    case "commit":
      return (await store.commit(step.ops)) ? undefined : `the batch was refused: ${clipped(step.ops)}`;
    case "refuse":
      return (await store.commit(step.ops)) ? `the batch was taken: ${clipped(step.ops)}` : undefined;
    case "reopen":
      return store.reopen();
    case "ask": {
      const asked = `asked ${clipped(step.ask)}`;
      const answer = await store.ask(step.ask).catch((error) => `${asked}: ${error.message}`);
      if (typeof answer === "string") return answer;
      const wrong = answerDifference(step.ask, answer, step.answer);
      return wrong && `${asked}: ${wrong}`;
    }
    default:
      return "the step is not known";
  }
}

/**
 * Many scripts at once, one interruption for all: who reopens waits until nobody is doing anything
 * else, and then the process is ended and started anew.
 */
export class Lockstep {
  #playing;
  #interrupt;
  #waiting = [];
  interruptions = 0;

  constructor(playing, interrupt) {
    this.#playing = playing;
    this.#interrupt = interrupt;
  }

  reopen() {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.#check();
    });
  }

  /** One less that plays. */
  leave() {
    this.#playing -= 1;
    this.#check();
  }

  #check() {
    if (this.#waiting.length === 0 || this.#waiting.length < this.#playing) return;
    const waiting = this.#waiting.splice(0);
    this.#interrupt(this.interruptions++).then(
      () => waiting.forEach(({ resolve }) => resolve()),
      (error) => waiting.forEach(({ reject }) => reject(error)),
    );
  }
}

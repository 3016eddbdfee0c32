// The account of a run: what was attempted, what the relay acknowledged, what each observer got.
//
// An observer is one timeline (a device or a browser). A token is a message's unique text. Order
// is checked per sender and observer; across senders there is none to check.
import assert from "node:assert/strict";

export const COLUMNS = [
  "attempted", "acknowledged", "delivered", "lost", "duplicated", "unexpected", "reordered", "recovered",
];

export class Ledger {
  #attempts = new Map();
  #nextPlace = new Map();
  #deliveries = new Map();

  /** `token` was committed at `sender` and must appear at each of `observers`. */
  attempt(sender, observers, token) {
    assert(!this.#attempts.has(token), `the token ${token} is used twice`);
    const place = this.#nextPlace.get(sender) ?? 0;
    this.#nextPlace.set(sender, place + 1);
    const observed = [observers].flat();
    this.#attempts.set(token, { sender, observers: observed, place, acknowledged: false, interrupted: false });
    return token;
  }

  /** The sender was told that the relay has it. */
  acknowledge(token) {
    const attempt = this.#attempts.get(token);
    assert(attempt, `acknowledged without attempt: ${token}`);
    attempt.acknowledged = true;
  }

  /** The sender's stream broke before it was told: if it is delivered, it was recovered. */
  interrupt(token) {
    const attempt = this.#attempts.get(token);
    assert(attempt, `interrupted without attempt: ${token}`);
    if (!attempt.acknowledged) attempt.interrupted = true;
  }

  /** `token` appeared at `observer`, after everything delivered there before. */
  deliver(observer, token) {
    if (!this.#deliveries.has(observer)) this.#deliveries.set(observer, []);
    this.#deliveries.get(observer).push(token);
  }

  /** Takes `tokens` for everything that `observer` has. */
  replace(observer, tokens) {
    this.#deliveries.set(observer, [...tokens]);
  }

  get attempted() {
    return this.#attempts.size;
  }

  /** How many distinct attempts have appeared at `observer`. */
  arrived(observer) {
    return new Set((this.#deliveries.get(observer) ?? []).filter((token) => this.#attempts.has(token))).size;
  }

  /** Whether every attempt has appeared everywhere it must. */
  isComplete() {
    return this.report().every((row) => row.lost === 0);
  }

  /**
   * One row per sender and observer, and one for what nobody sent. `by` gives the name under which
   * a sender or an observer is counted.
   */
  report({ by = (name) => name } = {}) {
    const rows = new Map();
    const row = (sender, observer) => {
      const key = `${by(sender)} → ${by(observer)}`;
      if (!rows.has(key)) {
        rows.set(key, {
          flow: key, attempted: 0, acknowledged: 0, delivered: 0,
          lost: 0, duplicated: 0, unexpected: 0, reordered: 0, recovered: 0,
        });
      }
      return rows.get(key);
    };
    for (const { sender, observers, acknowledged } of this.#attempts.values()) {
      for (const observer of observers) {
        row(sender, observer).attempted += 1;
        if (acknowledged) row(sender, observer).acknowledged += 1;
      }
    }
    for (const [observer, tokens] of this.#deliveries) this.#count(observer, tokens, row);
    for (const line of rows.values()) line.lost = Math.max(0, line.attempted - line.delivered);
    return [...rows.values()];
  }

  #count(observer, tokens, row) {
    const seen = new Set();
    const highest = new Map();
    for (const token of tokens) {
      const attempt = this.#attempts.get(token);
      if (attempt === undefined || !attempt.observers.includes(observer)) {
        row("?", observer).unexpected += 1;
        continue;
      }
      const line = row(attempt.sender, observer);
      if (seen.has(token)) {
        line.duplicated += 1;
        continue;
      }
      seen.add(token);
      line.delivered += 1;
      if (attempt.interrupted) line.recovered += 1;
      if (attempt.place < (highest.get(attempt.sender) ?? -1)) line.reordered += 1;
      else highest.set(attempt.sender, attempt.place);
    }
  }

  /** The first few tokens of each kind of fault, for a person to look for in the logs. */
  faults() {
    const lines = [];
    const counts = new Map();
    for (const [observer, tokens] of this.#deliveries) {
      const times = new Map();
      for (const token of tokens) times.set(token, (times.get(token) ?? 0) + 1);
      counts.set(observer, times);
    }
    for (const [token, { observers }] of this.#attempts) {
      for (const observer of observers) {
        const times = counts.get(observer)?.get(token) ?? 0;
        if (times !== 1) lines.push(`${token} appeared ${times} times at ${observer}`);
      }
    }
    return lines;
  }

  table(options) {
    const rows = this.report(options).sort((a, b) => (a.flow < b.flow ? -1 : 1));
    const width = Math.max(4, ...rows.map((row) => row.flow.length));
    const line = (cells) => cells.map((cell, i) => (i === 0 ? cell.padEnd(width) : cell.padStart(12))).join(" ");
    return [
      line(["flow", ...COLUMNS]),
      ...rows.map((row) => line([row.flow, ...COLUMNS.map((column) => String(row[column]))])),
    ].join("\n");
  }

  /** Whether something was attempted, and all of it appeared once, in order, and nothing else did. */
  isClean({ acknowledged = true } = {}) {
    const rows = this.report();
    return rows.length > 0 && rows.every(
      (row) =>
        row.lost + row.duplicated + row.unexpected + row.reordered === 0 &&
        (!acknowledged || row.acknowledged === row.attempted),
    );
  }

  /** Prints the table; throws unless it is clean. */
  assertClean(options) {
    const table = this.table();
    console.log(table.replace(/^/gm, "# "));
    assert(this.attempted > 0 || this.#deliveries.size > 0, "the ledger is empty: nothing was proven");
    assert(this.isClean(options), `the ledger does not balance\n${table}\n${this.faults().slice(0, 20).join("\n")}`);
  }
}

// Waiting, always with an end and always with words for what did not happen.
import { createServer } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

export { sleep };

/**
 * Polls `probe` until it answers something truthy, and answers that. An exception of the probe
 * counts as "not yet"; the last one is told if time runs out.
 */
export async function until(what, probe, { timeoutMs = 10_000, everyMs = 50, detail } = {}) {
  const end = Date.now() + timeoutMs;
  let fault;
  for (;;) {
    try {
      fault = undefined;
      const found = await probe();
      if (found) return found;
    } catch (error) {
      fault = error;
    }
    if (Date.now() >= end) break;
    await sleep(everyMs);
  }
  const words = [`waited ${timeoutMs} ms in vain for: ${what}`];
  if (detail) words.push(String(await Promise.resolve(detail()).catch((error) => error)));
  throw new Error(words.join("\n"), { cause: fault });
}

/** `promise`, or an error after `timeoutMs`. */
export async function within(timeoutMs, what, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`took over ${timeoutMs} ms: ${what}`)), timeoutMs);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** A TCP port that was free a moment ago. */
export function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/** Calls `work(i)` for 0 ≤ i < count, at most `width` at a time. */
export async function inParallel(count, width, work) {
  let next = 0;
  const lane = async () => {
    while (next < count) await work(next++);
  };
  await Promise.all(Array.from({ length: Math.min(width, count) }, lane));
}

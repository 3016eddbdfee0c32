// A device that was away for long: what waits for it, and the two ways to take it.
//
// Texts are taken apart by their shape and not read as XML: the relay is what is to be busy.
import { createHash } from "node:crypto";
import { query } from "./archive.mjs";
import { until, within } from "./wait.mjs";
import { Wire, bare } from "./wire.mjs";
import { NS } from "./xml.mjs";

const BATCH = 250;

export const bodyOf = (n) => `message ${n}`;
export const digestOf = (ids) => createHash("sha256").update(ids.map((id) => `${id}\n`).join("")).digest("base64");

/** An account with these devices, none of which is there any more. */
export async function away(relay, devices) {
  const user = await Wire.registered(relay, "bob");
  for (const resource of devices) {
    const wire = await Wire.login(relay, user, { resource });
    await wire.settle();
    await wire.close();
  }
  return user;
}

/** Somebody has written them `count` messages, and all have arrived. */
export async function writeTo(relay, user, count) {
  const alice = await Wire.login(relay, await Wire.registered(relay, "alice"));
  const witness = await Wire.login(relay, user, { resource: "witness", presence: false });
  for (let n = 1; n <= count; n += 1) {
    alice.message(bare(user), bodyOf(n), { origin: true });
    if (n % BATCH === 0 || n === count) await alice.ask();
  }
  const arrived = async () => Number((await summary(witness)).count) >= count;
  await until(`the ${count} messages to arrive`, arrived, { timeoutMs: 120_000, everyMs: 100 });
  await Promise.all([alice.close(), witness.close()]);
}

/** What waits for this device; with `hold`, nothing comes by itself from here on. */
export async function summary(wire, hold = false) {
  const answer = await wire.iq("get", `<summary xmlns='${NS.offline}' hold='${hold}'/>`, { timeoutMs: 30_000 });
  return answer.get("summary", NS.offline).attrs;
}

/** The batch receipt; answers what waits after it. */
export async function receive(wire, upto) {
  const answer = await wire.iq("set", `<received xmlns='${NS.offline}' upto='${upto}'/>`, { timeoutMs: 30_000 });
  return answer.get("summary", NS.offline).attrs;
}

const between = (text, start, end) => {
  const at = text.indexOf(start);
  return at < 0 ? undefined : text.slice(at + start.length, text.indexOf(end, at + start.length));
};

/** Takes what comes by itself until there are `count` bodies; acks each `<r/>` at once, and `every` so many unasked. */
export async function replay(wire, count, { timeoutMs = 120_000, presence = true, every } = {}) {
  const [bodies, ids] = [[], []];
  const done = new Promise((resolve) => {
    wire.onText = (text) => {
      if (text.startsWith("<message")) {
        wire.handled += 1;
        bodies.push(between(text, "<body>", "</body>"));
        ids.push(/<stanza-id [^>]*\bid='([^']*)'/.exec(text)?.[1]);
        if (bodies.length % every === 0) wire.ack();
        if (bodies.length === count) resolve();
        return true;
      }
      if (text.startsWith("<r ") && wire.answers) {
        wire.ack();
        return true;
      }
      return false;
    };
  });
  if (presence) wire.send("<presence xmlns='jabber:client'/>");
  await within(timeoutMs, `${count} messages to come`, done);
  return { bodies, ids };
}

/** Takes what waits in pages of `max`, from the one after `after` to the end. */
export async function takePages(wire, max, after) {
  const [bodies, ids, sizes] = [[], [], []];
  let results = 0;
  wire.onText = (text) => {
    if (text.startsWith("<message") && text.includes("<result ")) {
      wire.handled += 1;
      results += 1;
      bodies.push(between(text, "<body>", "</body>"));
      ids.push(/<result [^>]*\bid='([^']*)'/.exec(text)?.[1]);
      return true;
    }
    if (text.startsWith("<r ") && wire.answers) {
      wire.ack();
      return true;
    }
    return false;
  };
  for (let last = after; ; ) {
    results = 0;
    const answer = await wire.iq("set", query("page", { max, after: last }), { timeoutMs: 30_000 });
    const fin = answer.get("fin", NS.mam);
    sizes.push(results);
    if (fin.attrs.complete === "true") return { bodies, ids, sizes };
    last = fin.get("set", NS.rsm).get("last").text;
  }
}

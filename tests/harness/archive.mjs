// The archive as a client asks for it (XEP-0313, XEP-0059).
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { NS, escape } from "./xml.mjs";

const tag = (name, value) => (value === undefined ? "" : `<${name}>${escape(String(value))}</${name}>`);

/** A query: `fields` of the form (a value or a list), and its page. */
export function query(queryId, { max, after, before, flip = false, ...fields } = {}) {
  const field = ([name, values]) =>
    `<field var='${name}'>${[values].flat().map((value) => tag("value", value)).join("")}</field>`;
  return (
    `<query xmlns='${NS.mam}' queryid='${queryId}'><x xmlns='jabber:x:data' type='submit'>` +
    `<field var='FORM_TYPE' type='hidden'><value>${NS.mam}</value></field>` +
    `${Object.entries(fields).map(field).join("")}</x>${flip ? "<flip-page/>" : ""}` +
    `<set xmlns='${NS.rsm}'>${tag("max", max)}${tag("after", after)}${tag("before", before)}</set></query>`
  );
}

/** The results of a query among frames, as they came. */
export const resultsOf = (frames, queryId) =>
  frames
    .flatMap((frame) => (frame.is("message") ? frame.all("result", NS.mam) : []))
    .filter((result) => result.attrs.queryid === queryId)
    .map((result) => {
      const forwarded = result.get("forwarded", NS.forward);
      const message = forwarded.get("message", NS.client);
      return { id: result.attrs.id, at: forwarded.get("delay", NS.delay).attrs.stamp, body: message.body, xml: message.xml };
    });

/** What `<fin/>` says. */
export function finOf(answer) {
  const fin = answer.get("fin", NS.mam);
  assert(fin, answer.xml);
  const set = fin.get("set", NS.rsm);
  const [first, last, count] = ["first", "last", "count"].map((name) => set.get(name)?.text);
  return { complete: fin.attrs.complete === "true", first, last, count };
}

/** One page. */
export async function page(wire, options) {
  const queryId = randomUUID();
  const answer = await wire.iq("set", query(queryId, options));
  const results = resultsOf(wire.waiting, queryId);
  wire.drop((frame) => resultsOf([frame], queryId).length > 0);
  return { results, ...finOf(answer) };
}

/** Pages from the beginning until there are no more. */
export async function* pages(wire, options) {
  for (let after; ; ) {
    const one = await page(wire, { ...options, after });
    yield one;
    if (one.complete) return;
    after = one.last;
  }
}

/** Everything, in pages of `max`. */
export async function everything(wire, max) {
  const results = [];
  for await (const one of pages(wire, { max })) results.push(...one.results);
  return results;
}

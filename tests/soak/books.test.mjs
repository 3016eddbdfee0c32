// The checkers of the soak, fed with doctored logs: each lie must be found, and the truth must not
// be called one.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Books } from "./books.mjs";
import { Session } from "./session.mjs";
import { bodyOf, token, tokensIn } from "./text.mjs";
import { Trace } from "./trace.mjs";

const [ANN, BEN, CLEO] = ["ann@localhost", "ben@localhost", "cleo@localhost"];
const M1 = token("m", "ann/1", 1);
const M2 = token("m", "ann/1", 2);
const R1 = token("r", "ben/1", 1);

/** What is told to whom when nothing is wrong: two messages, and a receipt for each. */
function truth() {
  const R2 = token("r", "ben/1", 2);
  const message = (device, name, seq) => ({ device, token: name, seq, from: ANN, body: bodyOf(name), session: 1 });
  const receipt = (device, name, seq, of) => ({ device, token: name, seq, from: BEN, of, session: 1 });
  return [
    { accepted: "ann/1", token: M1, seq: 1 },
    message("ann/2", M1, 1),
    message("ben/1", M1, 1),
    message("ben/2", M1, 1),
    { accepted: "ben/1", token: R1, seq: 2 },
    receipt("ben/2", R1, 2, M1),
    receipt("ann/1", R1, 2, M1),
    receipt("ann/2", R1, 2, M1),
    { accepted: "ann/1", token: M2, seq: 3 },
    message("ann/2", M2, 3),
    message("ben/1", M2, 3),
    message("ben/2", M2, 3),
    { accepted: "ben/1", token: R2, seq: 4 },
    receipt("ben/2", R2, 4, M2),
    receipt("ann/1", R2, 4, M2),
    receipt("ann/2", R2, 4, M2),
  ];
}

/** The books after these events; `acked: false` leaves the first message without an ack. */
function closed(events, { acked = true } = {}) {
  const books = new Books();
  for (const device of ["ann/1", "ann/2"]) books.enrol(ANN, device);
  for (const device of ["ben/1", "ben/2"]) books.enrol(BEN, device);
  books.enrol(CLEO, "cleo/1");
  for (const name of [M1, M2]) books.attempt("ann/1", name, BEN);
  for (const [name, of] of [[R1, M1], [token("r", "ben/1", 2), M2]]) books.attempt("ben/1", name, ANN, { of });
  for (const { accepted, device, ...row } of events) {
    if (accepted) books.accepted(accepted, row.token, row.seq);
    else books.row(device, row);
  }
  for (const name of [M1, M2, R1, token("r", "ben/1", 2)]) if (acked || name !== M1) books.acknowledge(name);
  books.close();
  return books;
}

const wordsOf = (events, options) => closed(events, options).violations.map(({ what }) => what).join("\n");
const where = (device, name) => (event) => event.device === device && event.token === name;
const told = (device, name) => (event) => event.accepted === device && event.token === name;
const INVENTED = { device: "ben/1", token: M1, seq: 5, from: ANN, session: 1 };
const withGapAfter = (last) => truth().map((event) => (event.seq > last ? { ...event, seq: event.seq + 1 } : event));
const without = (lost) => truth().filter((event) => !lost(event));
const changed = (which, change) => truth().map((event) => (which(event) ? { ...event, ...change } : event));
const repeated = (which, change) => truth().flatMap((event) => (which(event) ? [event, { ...event, ...change }] : [event]));
/** The events of `device` for `first` and `second`, the other way round. */
function swapped(device, first, second) {
  const events = truth();
  const [a, b] = [events.findIndex(where(device, first)), events.findIndex(where(device, second))];
  [events[a], events[b]] = [events[b], events[a]];
  return events;
}

describe("the books", () => {
  test("find nothing wrong with the truth, and everything settled", () => {
    const books = closed(truth());
    assert.deepEqual(books.violations, []);
    assert.deepEqual([books.open, books.repeats], [0, 0]);
    assert.doesNotThrow(() => books.messages.assertClean());
    assert.doesNotThrow(() => books.receipts.assertClean());
  });

  test("take a repeat on a new session for what it is", () => {
    const books = closed(repeated(where("ben/2", M1), { session: 2 }));
    assert.deepEqual(books.violations, []);
    assert.equal(books.repeats, 1);
  });

  const lies = [
    ["a message that one device of the recipient lacks", without(where("ben/2", M1)), /lost at ben\/2/],
    ["a message that the sender's other device lacks", without(where("ann/2", M2)), /lost at ann\/2/],
    ["a receipt that got lost", without(where("ann/1", R1)), /no receipt at ann\/1[^]*lost at ann\/1/],
    ["a row whose id its sender was never told", without(told("ann/1", M2)), /row 3 .*ann\/1/],
    ["a second row for one message", repeated(where("ben/1", M2), { seq: 5 }), /two rows of ben@localhost: 3 and 5/],
    ["a second row that only the other device shows", changed(where("ben/2", M2), { seq: 5 }), /two rows of ben@localhost/],
    ["another id for the sender than for its other device", changed(told("ann/1", M1), { seq: 9 }), /two rows of ann/],
    ["two messages under one id", changed(where("ben/1", M2), { seq: 1 }), /row 1 of ben@localhost is both/],
    ["a repeat within one session", repeated(where("ben/2", M1), {}), /twice on one session/],
    ["rows whose ids go back", swapped("ben/1", M1, M2), /shown row 1 .* after row 3/],
    ["messages out of their sender's order", swapped("ben/1", M1, M2), /m-ann\.1-1 came to ben\/1 after number 2/],
    ["a gap in an account's rows", withGapAfter(2), /row 3 \(undefined\)/],
    ["a row without an id", changed(where("ben/1", M1), { seq: Number.NaN }), /has the stanza-id NaN/],
    ["a message nobody wrote", [...truth(), { ...INVENTED, token: "m-ann.1-7" }], /nobody wrote/],
    ["a message at somebody else's", [...truth(), { ...INVENTED, device: "cleo/1" }], /cleo\/1 was sent m-ann/],
    ["another text", changed(where("ben/1", M1), { body: `${bodyOf(M1)}!` }), /another text/],
    ["another sender", changed(where("ben/1", M1), { from: CLEO }), /as from cleo/],
    ["a receipt turned to another message", changed(where("ann/1", R1), { of: M2 }), /as the receipt for m-ann\.1-2/],
    ["an id told to a device that did not write", [...truth(), { accepted: "ann/2", token: M1, seq: 1 }], /ann\/2 was told/],
  ];
  for (const [name, events, wanted] of lies) {
    test(`find ${name}`, () => assert.match(wordsOf(events), wanted));
  }

  test("find a message that the relay never acked", () => {
    assert.match(wordsOf(truth(), { acked: false }), /m-ann\.1-1 was never acked/);
  });

  test("count what a broken stream had left open and was delivered all the same", () => {
    const books = new Books();
    books.enrol(ANN, "ann/1");
    books.enrol(BEN, "ben/1");
    for (const name of [M1, M2]) books.attempt("ann/1", name, BEN);
    books.acknowledge(M1);
    for (const name of [M1, M2]) books.interrupt(name);
    for (const [i, name] of [M1, M2].entries()) {
      books.row("ben/1", { token: name, seq: i + 1, from: ANN, body: bodyOf(name), session: 1 });
    }
    assert.equal(books.messages.report()[0].recovered, 1);
  });

  test("see a guest's double only within a session, and know no ids of it", () => {
    const books = new Books();
    books.enrol(ANN, "ann/1");
    books.enrol(BEN, "ben/1", { guest: true });
    books.attempt("ann/1", M1, BEN);
    for (const session of [1, 2, 2]) books.row("ben/1", { token: M1, from: ANN, body: bodyOf(M1), session });
    assert.equal(books.repeats, 1);
    assert.match(books.violations[0].what, /twice on one session/);
  });
});

describe("a session", () => {
  const session = (acked) => {
    const lies = [];
    const made = new Session("id", { acked, onLie: (words) => lies.push(words) });
    for (const name of ["a", "b", "c"]) made.push(name);
    return { made, lies };
  };

  test("confirms from the front, and passes 2³²", () => {
    const { made, lies } = session(2 ** 32 - 2);
    assert.deepEqual(made.ack("4294967295"), ["a"]);
    assert.deepEqual(made.ack("1"), ["b", "c"]);
    assert.deepEqual(made.ack("1"), []);
    assert.deepEqual([lies, made.sent], [[], 1]);
    made.handled = 2 ** 32 - 1;
    made.received();
    assert.equal(made.handled, 0);
  });

  for (const h of ["4", "4294967295", "-1", "4294967296", "1.5", "", undefined]) {
    test(`catches h=${h} when three were sent`, () => {
      const { made, lies } = session(0);
      assert.deepEqual(made.ack(h), []);
      assert.deepEqual([lies.length, made.unacked.length], [1, 3]);
    });
  }

  test("catches an h that goes back", () => {
    const { made, lies } = session(0);
    made.ack("2");
    made.ack("1");
    assert.equal(lies.length, 1);
  });
});

describe("the trace", () => {
  test("tells the story of one message, and what its devices went through meanwhile", () => {
    const trace = new Trace();
    trace.event("its stream broke", "ann/1");
    trace.event("its stream broke", "cleo/1");
    for (const xml of [`<message id='${M1}'/>`, `<message id='${M2}'/>`]) trace.frame("ann/1#3", "→", xml, tokensIn(xml));
    const story = trace.story(M1);
    assert.match(story, /ann\/1 +· its stream broke\n.*ann\/1#3 +→ <message id='m-ann\.1-1'\/>$/);
    assert(!story.includes("cleo") && !story.includes(M2));
  });

  test("is bounded, and forgets what is settled before what is not", () => {
    const trace = new Trace({ framesMax: 10 });
    const note = (name) => trace.frame("ann/1#1", "→", `<message id='${name}'/>`, new Set([name]));
    for (const name of [M1, M2]) note(name);
    trace.settle(M2);
    for (let i = 0; i < 9; i += 1) note(R1);
    assert(trace.size <= 10);
    assert.match(trace.story(M2), /nothing is remembered/);
    assert.match(trace.story(M1), /→/);
    for (let i = 0; i < 1_000; i += 1) note(token("m", "ann/1", i + 10));
    assert(trace.size <= 10);
  });
});

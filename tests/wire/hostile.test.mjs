// Ten thousand connections that break the rules, while two people chat.
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { WebSocket } from "ws";
import { Ledger } from "../harness/ledger.mjs";
import { sharedRelay } from "../harness/relay.mjs";
import { inParallel, sleep, until } from "../harness/wait.mjs";
import { Wire, bare, someone } from "../harness/wire.mjs";
import { NS } from "../harness/xml.mjs";

const CONNECTIONS = Number(process.env.HOSTILE ?? 10_000);
const WIDTH = 40;
const OPEN = `<open xmlns='${NS.framing}' to='localhost' version='1.0'/>`;
const shared = sharedRelay({ before, after, afterEach });

const ATTACKS = [
  ["<a/>"],
  [OPEN, "<a/><b/>"],
  [OPEN, "<message xmlns='jabber:client'"],
  [OPEN, " "],
  [OPEN, "<!-- x -->"],
  [OPEN, "<?x y?>"],
  [OPEN, "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>"],
  [OPEN, "x".repeat(12_000)],
  [OPEN, "<a>".repeat(2_000)],
  [OPEN, `<a ${Array.from({ length: 900 }, (_, i) => `b${i}='c'`).join(" ")}/>`],
  [OPEN, Buffer.from([0xff, 0xfe])],
  [OPEN, `<auth xmlns='${NS.sasl}' mechanism='PLAIN'>AGEAYg==</auth>`, "<a/><b/>"],
  [OPEN, `<auth xmlns='${NS.sasl}' mechanism='SCRAM-SHA-256'>!</auth>`, "<a/><b/>"],
  [OPEN, `<auth xmlns='${NS.sasl}' mechanism='SCRAM-SHA-1'>biwsbj1ub2JvZHkscj14</auth>`, "<a/><b/>"],
  [OPEN, OPEN, OPEN, "<stream/>"],
  [OPEN, "<resume xmlns='urn:xmpp:sm:3' previd='x' h='0'/>", "<"],
];

/** One attack; answers whether the relay ended the connection by itself within the time. */
function attack(frames, url) {
  return new Promise((resolve) => {
    const socket = new WebSocket(url, "xmpp", { perMessageDeflate: false });
    const late = setTimeout(() => done("open"), 20_000);
    const done = (how) => {
      clearTimeout(late);
      socket.terminate();
      resolve(how);
    };
    socket.on("error", () => {});
    socket.once("open", () => {
      for (const frame of frames) socket.send(frame);
    });
    socket.on("message", (data) => {
      // The rest of the close handshake is the client's; an attacker does not wait for it.
      if (data.toString().startsWith("<close")) done("ended");
    });
    socket.once("close", () => done("ended"));
    socket.once("unexpected-response", (_, response) => done(`refused with ${response.statusCode}`));
  });
}

test(`two people keep chatting through ${CONNECTIONS} hostile connections`, { timeout: 300_000 }, async () => {
  const { relay } = shared;
  const [ann, ben] = [someone("ann"), someone("ben")];
  const wires = [];
  for (const user of [ann, ben]) {
    await Wire.register(relay, user);
    wires.push(await Wire.login(relay, user));
  }
  const ledger = new Ledger();
  wires[1].onBody = (body) => ledger.deliver("ben", body);
  const outcomes = new Map();
  let isOver = false;

  const chat = (async () => {
    for (let i = 0; !isOver; i += 1) {
      wires[0].message(bare(ben), ledger.attempt("ann", "ben", `through the noise ${i}`), { origin: true });
      await sleep(50);
    }
  })();
  await inParallel(CONNECTIONS, WIDTH, async (i) => {
    // A third knock at the chatting people's own doors.
    const account = [undefined, bare(ann), bare(`stranger${i % 50}`)][i % 3];
    const outcome = await attack(ATTACKS[i % ATTACKS.length], relay.url(account));
    outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
  });
  isOver = true;
  await chat;

  console.log(`# ${JSON.stringify(Object.fromEntries(outcomes))}`);
  assert.equal(outcomes.get("open") ?? 0, 0, "the relay let some of them stay");
  relay.assertAlive();
  relay.assertQuiet();
  assert.equal(await wires[0].ask() > 0, true);
  await until("the last message", () => ledger.isComplete());
  assert(ledger.attempted > 20, "hardly anything was said meanwhile");
  ledger.assertClean({ acknowledged: false });
  await (await Wire.login(relay, ann, { resource: "newcomer" })).close();
});

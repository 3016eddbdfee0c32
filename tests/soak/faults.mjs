// What goes wrong in a soak: each disaster is a loop of its own that a seed repeats, runs until
// `isBusy()` is false, and leaves everything healed.
import { WebSocket } from "ws";
import { sleep } from "../harness/wait.mjs";
import { Wire } from "../harness/wire.mjs";
import { NS } from "../harness/xml.mjs";

const KILL_MS = [2_000, 8_000];
const DOWN_MS = [0, 600];

/** SIGKILL every two to eight seconds, and a start on the same state. Answers how often. */
export async function killAgainAndAgain(relay, random, { isBusy, trace, onRestart }) {
  let kills = 0;
  let due = Date.now() + random.between(...KILL_MS);
  for (;;) {
    await restless(due - Date.now(), isBusy);
    if (!isBusy()) return kills;
    due = Date.now() + random.between(...KILL_MS);
    await relay.kill();
    kills += 1;
    trace.event("the relay is killed");
    await sleep(random.between(...DOWN_MS));
    await relay.restart();
    trace.event("the relay is back");
    onRestart(kills);
  }
}

/** Devices that disappear for a moment, in every way a device can. */
export async function vanishAtRandom(devices, random, { isBusy, everyMs, awayMs }) {
  const ways = { vanished: 0, forgot: 0, left: 0 };
  const away = [];
  while (isBusy()) {
    await restless(random.between(...everyMs), isBusy);
    const device = random.pick(devices);
    if (!isBusy() || !device.isAwake) continue;
    const how = random.pick(["vanished", "vanished", "vanished", "forgot", "left"]);
    ways[how] += 1;
    if (how === "left") await device.leave();
    else await device.vanish({ forget: how === "forgot" });
    away.push(restless(random.between(...awayMs), isBusy).then(() => (device.isAwake = true)));
  }
  await Promise.all(away);
  return ways;
}

/** One device is away for `ms` and has everything to catch up with. */
export async function awayForLong(device, { afterMs, ms, isBusy }) {
  await restless(afterMs, isBusy);
  await device.vanish();
  await restless(ms, isBusy);
  device.isAwake = true;
}

/** Connections of somebody who means harm, at other people's doors and on an account of their own. */
export async function hostility(relay, random, { isBusy, devices, books, user }) {
  const attempts = { garbage: 0, "too high": 0, theft: 0 };
  while (isBusy()) {
    await restless(random.between(300, 1_500), isBusy);
    if (!isBusy()) break;
    const kind = random.pick(Object.keys(attempts));
    attempts[kind] += 1;
    try {
      if (kind === "garbage") await garbage(relay.url(random.pick([undefined, random.pick(devices).account])), random);
      else if (kind === "too high") await tooHigh(relay, user, random);
      else await theft(relay, user, random.pick(devices), books);
    } catch (error) {
      // The relay may be killed at any moment; what it must not do, it was seen not to do.
      if (error instanceof TypeError || error instanceof ReferenceError) throw error;
    }
  }
  return attempts;
}

const OPEN = `<open xmlns='${NS.framing}' to='localhost' version='1.0'/>`;
const GARBAGE = [
  ["<a/><b/>"],
  [OPEN, "<message xmlns='jabber:client'"],
  [OPEN, Buffer.from([0xff, 0xfe, 0x00])],
  [OPEN, "<a>".repeat(3_000)],
  [OPEN, "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>"],
  [OPEN, "x".repeat(20_000)],
  [OPEN, `<auth xmlns='${NS.sasl}' mechanism='SCRAM-SHA-256'>!</auth>`],
  [OPEN, `<resume xmlns='${NS.sm}' previd='x' h='0'/>`],
];

function garbage(url, random) {
  const frames = random.pick(GARBAGE);
  return new Promise((resolve) => {
    const socket = new WebSocket(url, "xmpp", { perMessageDeflate: false });
    const done = () => (clearTimeout(late), socket.terminate(), resolve());
    const late = setTimeout(done, 1_000);
    socket.on("error", done);
    socket.once("close", done);
    socket.once("open", () => frames.forEach((frame) => socket.send(frame)));
  });
}

async function tooHigh(relay, user, random) {
  const wire = await Wire.login(relay, user, { resource: "hostile" });
  if (random.next() < 0.5) {
    wire.ack(random.pick([4_294_967_295, 1_000_000, 77]));
  } else {
    await wire.vanish();
    const again = await Wire.login(relay, user, { resume: true });
    again.send(`<resume xmlns='${NS.sm}' h='4294967295' previd='${wire.smId}'/>`);
    await Promise.race([again.closed, sleep(1_000)]);
    return again.vanish();
  }
  await Promise.race([wire.closed, sleep(1_000)]);
  await wire.vanish();
}

async function theft(relay, user, victim, books) {
  const { smId } = victim;
  if (smId === undefined) return;
  const wire = await Wire.login(relay, user, { resume: true });
  const answer = await wire.resume({ smId, handled: 0 });
  if (!answer.is("failed")) books.fault(`${victim.name}'s session was given to ${user}: ${answer.xml}`);
  await wire.vanish();
}

/** Sleeps `ms`, or until there is nothing left to disturb. */
export async function restless(ms, isBusy) {
  const end = Date.now() + ms;
  while (isBusy() && Date.now() < end) await sleep(Math.min(200, Math.max(1, end - Date.now())));
}

// The account's devices, each with a queue of its own, as their owner sees and ends them.
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { sharedRelay } from "../harness/relay.mjs";
import { Wire, bare } from "../harness/wire.mjs";
import { NS } from "../harness/xml.mjs";

const shared = sharedRelay({ before, after, afterEach });
const login = (user, options) => Wire.login(shared.relay, user, options);

const registered = (name) => Wire.registered(shared.relay, name);

async function devices(wire) {
  const answer = await wire.iq("get", `<devices xmlns='${NS.devices}'/>`);
  const all = answer.get("devices", NS.devices).all("device").map((device) => device.attrs);
  return Object.fromEntries(all.map(({ id, ...rest }) => [id, rest]));
}

describe("devices", () => {
  test("are listed with what waits for each, and keep their names when the relay dies", async () => {
    const [user, alice] = [await registered("bob"), await login(await registered("alice"))];
    const laptop = await login(user, { resource: "laptop" });
    await laptop.close();
    const phone = await login(user, { resource: "phone" });
    for (let n = 1; n <= 12; n += 1) alice.message(bare(user), `message ${n}`);
    await phone.expectMessage("message 12");
    await phone.settle();
    phone.ack();
    await phone.iq("set", `<rename xmlns='${NS.devices}' id='laptop' name='在家 &amp; at home'/>`);
    await shared.relay.kill();
    await shared.relay.restart();
    const back = await login(user, { resource: "phone" });
    const listed = await devices(back);
    assert.equal(listed.laptop.name, "在家 & at home");
    assert.deepEqual([listed.laptop.waiting, listed.laptop.online], ["12", "false"]);
    assert.deepEqual([listed.phone.waiting, listed.phone.online, listed.phone.this], ["0", "true", "true"]);
    assert(Math.abs(Date.parse(listed.phone.seen) - Date.now()) < 60_000, listed.phone.seen);
  });

  test("end when they are removed: the connection, the session and the queue", async () => {
    const user = await registered("bob");
    const phone = await login(user, { resource: "phone" });
    const laptop = await login(user, { resource: "laptop" });
    assert.equal((await phone.iq("set", `<remove xmlns='${NS.devices}' id='laptop'/>`)).attrs.type, "result");
    await laptop.closed;
    assert.deepEqual(Object.keys(await devices(phone)), ["phone"]);
    const back = await login(user, { resume: true });
    assert.equal((await back.resume(laptop)).condition, "item-not-found");
  });
});

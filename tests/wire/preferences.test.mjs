// What the archive shows (XEP-0441), and what it does not and is delivered all the same.
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { pages } from "../harness/archive.mjs";
import { sharedRelay } from "../harness/relay.mjs";
import { Wire, bare } from "../harness/wire.mjs";
import { NS } from "../harness/xml.mjs";

const shared = sharedRelay({ before, after, afterEach });
const login = (user, options) => Wire.login(shared.relay, user, options);

const prefs = (archiving, never = []) =>
  `<prefs xmlns='${NS.mam}' default='${archiving}'><always/><never>${never.map((jid) => `<jid>${jid}</jid>`).join("")}</never></prefs>`;

async function shown(wire) {
  const bodies = [];
  for await (const { results } of pages(wire, { max: 10 })) bodies.push(...results.map(({ body }) => body));
  return bodies;
}

describe("preferences for the archive", () => {
  test("outlive the relay, hide what comes from then on, and keep it from nobody", async () => {
    const [alice, user] = [await login(await Wire.registered(shared.relay, "alice")), await Wire.registered(shared.relay, "bob")];
    const phone = await login(user, { resource: "phone" });
    alice.message(bare(user), "shown", { origin: true });
    await phone.expectMessage("shown");
    const answer = await phone.iq("set", prefs("always", [bare(alice.user)]));
    assert.equal(answer.get("prefs", NS.mam).get("never").get("jid").text, bare(alice.user));
    await phone.close();
    alice.message(bare(user), "hidden", { origin: true });
    alice.message(bare(user), "hidden, too", { origin: true });
    assert.equal(await alice.ask(), alice.sent);
    await shared.relay.kill();
    await shared.relay.restart();
    const again = await login(user, { resource: "phone", presence: false });
    const summary = await again.iq("get", `<summary xmlns='${NS.offline}' hold='true'/>`);
    const { count, last } = summary.get("summary", NS.offline).attrs;
    assert(Number(count) >= 2, summary.xml);
    assert.deepEqual((await shown(again)).slice(-2), ["hidden", "hidden, too"], "they wait for it");
    await again.iq("set", `<received xmlns='${NS.offline}' upto='${last}'/>`);
    assert.deepEqual(await shown(again), ["shown"]);
    const kept = await again.iq("get", `<prefs xmlns='${NS.mam}'/>`);
    assert.equal(kept.get("prefs", NS.mam).get("never").get("jid").text, bare(alice.user));
  });

  test("what its sender wishes not to be kept is delivered and not shown", async () => {
    const [alice, bob] = [
      await login(await Wire.registered(shared.relay, "alice")),
      await login(await Wire.registered(shared.relay, "bob"), { resource: "phone" }),
    ];
    alice.message(bare(bob.user), "passing", { extra: "<no-permanent-store xmlns='urn:xmpp:hints'/>" });
    await bob.expectMessage("passing");
    bob.ack();
    await bob.settle();
    bob.ack();
    await bob.settle();
    assert.deepEqual(await shown(bob), []);
  });
});

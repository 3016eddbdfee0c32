// What stands on the screen: panes, and the way between them.
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { cast } from "../harness/cast.mjs";
import { until } from "../harness/wait.mjs";

const stage = cast({ before, after, afterEach });
const PHONE = { width: 390, height: 844 };

test("on a phone the system's way back leads from a conversation to the list", { timeout: 60_000 }, async () => {
  const alice = await stage.registered("alice");
  const { page } = alice.tab;
  await page.setViewportSize(PHONE);
  const composer = alice.tab.get("composer-input");
  const atList = () => until("the list", async () =>
    (await composer.count()) === 0 && (await alice.tab.get("new-chat-input").isVisible()));
  for (const name of ["first@localhost", "second@localhost"]) {
    await alice.tab.openChat(name);
    assert(!(await alice.tab.get("new-chat-input").isVisible()), "there is no room for the list");
    await page.goBack();
    await atList();
  }
  // The app's own way back leaves no step behind that would have to be taken again.
  const steps = await page.evaluate(() => history.length);
  await alice.tab.openListed("first@localhost");
  await alice.tab.get("back-button").click();
  await atList();
  assert.equal(await page.evaluate(() => history.state), null);
  assert.equal(await page.evaluate(() => history.length), steps);
  assert.equal((await alice.tab.link()).state, "online");
});

test("opening the app again with a conversation open on a phone needs no double step back", { timeout: 60_000 }, async () => {
  const alice = await stage.registered("alice");
  const { page } = alice.tab;
  await page.setViewportSize(PHONE);
  await alice.tab.openChat("first@localhost");
  await page.reload();
  await alice.tab.openListed("first@localhost");
  await page.goBack();
  await alice.tab.get("new-chat-input").waitFor();
});

test("the box one writes in is one line high again when a long text has been sent", { timeout: 60_000 }, async () => {
  const alice = await stage.registered("alice");
  await alice.tab.openChat("first@localhost");
  const box = alice.tab.get("composer-input");
  const height = async () => (await box.boundingBox()).height;
  const before = await height();
  await box.fill("one\ntwo\nthree\nfour");
  await until("room for four lines", async () => (await height()) > before + 40);
  await alice.tab.get("send-button").click();
  await until("one line", async () => (await height()) === before);
});

// Two people at two browsers, and what each status means.
import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { cast } from "../harness/cast.mjs";
import { introduce } from "../harness/talk.mjs";
import { sleep, until } from "../harness/wait.mjs";

const stage = cast({ before, after, afterEach });
const couple = async () => {
  const people = [await stage.registered("alice"), await stage.registered("bob")];
  await introduce(people);
  return people;
};
const hears = (person, text) => person.tab.bubble(text).first().waitFor({ timeout: 15_000 });

test("two people register and write to each other", async () => {
  const [alice, bob] = await couple();
  await alice.tab.send("hello bob");
  await hears(bob, "hello bob");
  await bob.tab.send("hello alice");
  await hears(alice, "hello alice");
  await alice.tab.send("<b>not bold</b> & 你好 😀");
  await hears(bob, "<b>not bold</b> & 你好 😀");
  for (const person of [alice, bob]) {
    await person.tab.assertShowsNewest();
    assert.deepEqual(
      (await person.tab.timeline()).map(({ body }) => body),
      ["hello bob", "hello alice", "<b>not bold</b> & 你好 😀"],
    );
  }
  const directions = async (person) => (await person.tab.timeline()).map(({ direction }) => direction);
  assert.deepEqual(await directions(alice), ["out", "in", "out"]);
  assert.deepEqual(await directions(bob), ["in", "out", "in"]);
});

test("a message is queued without a network, sent when the relay has it, delivered when a device has it, read when a person has", { timeout: 120_000 }, async () => {
  const [alice, bob] = await couple();
  await bob.tab.openChat("elsewhere@localhost");
  await bob.tab.idle();

  alice.proxy.down();
  await alice.tab.notOnline();
  await alice.tab.send("step by step");
  await sleep(1_000);
  assert.equal(await alice.tab.status("step by step"), "queued");
  assert.equal((await alice.tab.link()).outbox, 1);

  bob.proxy.down();
  await bob.tab.notOnline();
  alice.proxy.heal();
  await alice.tab.waitStatus("step by step", "sent");
  await sleep(1_000);
  assert.equal(await alice.tab.status("step by step"), "sent");

  bob.proxy.heal();
  await alice.tab.waitStatus("step by step", "delivered");
  await sleep(1_000);
  assert.equal(await alice.tab.status("step by step"), "delivered");
  assert.equal(await bob.tab.unread(alice.jid), 1);

  await bob.tab.openChat(alice.jid);
  await alice.tab.waitStatus("step by step", "read");
  assert.equal(await bob.tab.unread(alice.jid), 0);
});

test("a stranger learns nothing until the recipient accepts", { timeout: 60_000 }, async () => {
  const [alice, bob] = [await stage.registered("alice"), await stage.registered("bob")];
  await alice.tab.openChat(bob.jid);
  await alice.tab.send("you do not know me");
  await until("bob to see it", async () => (await bob.tab.unread(alice.jid)) === 1);
  await sleep(1_500);
  assert.equal(await alice.tab.status("you do not know me"), "sent");
  // Not through the form for new chats: whoever starts a chat there has accepted it.
  await bob.tab.openListed(alice.jid);
  await bob.tab.bubble("you do not know me").waitFor();
  await sleep(1_000);
  assert.equal((await bob.tab.link()).owed, 1, "the receipt is neither kept nor sent");
  assert.equal(await alice.tab.status("you do not know me"), "sent");
  await bob.tab.get("accept-button").click();
  await alice.tab.waitStatus("you do not know me", "delivered", "read");
});

test("a message that was written without a network can be taken back, and is never sent", { timeout: 60_000 }, async () => {
  const [alice, bob] = await couple();
  alice.proxy.down();
  await alice.tab.notOnline();
  await alice.tab.send("regretted");
  await alice.tab.send("kept");
  const regretted = alice.tab.bubble("regretted");
  await regretted.hover();
  await regretted.locator('[data-testid="delete-button"]').click();
  await until("it to go", async () => (await regretted.count()) === 0);
  alice.proxy.heal();
  await hears(bob, "kept");
  await alice.tab.idle();
  assert.equal(await bob.tab.has("regretted"), false);
});

test("a message to nobody fails in sight of its sender, and can be deleted", { timeout: 60_000 }, async () => {
  const alice = await stage.registered("alice");
  await alice.tab.openChat("nobody-at-all@localhost");
  await alice.tab.send("anyone?");
  await alice.tab.waitStatus("anyone?", "failed");
  const bubble = alice.tab.bubble("anyone?");
  assert(await bubble.locator('[data-testid="retry-button"]').isVisible());
  await bubble.locator('[data-testid="delete-button"]').click();
  await until("it to go", async () => (await bubble.count()) === 0);
});

test("a wrong password is called wrong and a taken name taken", { timeout: 60_000 }, async () => {
  const alice = await stage.registered("alice");
  const eve = await stage.person("eve");
  const refusal = async (button, password) => {
    await eve.tab.visit();
    eve.jid = alice.jid;
    await eve.tab.enter(button, password);
    const error = eve.tab.get("sign-in-error");
    await until("an explanation", async () => (await error.isVisible()) && (await error.textContent()).trim() !== "");
    return (await error.textContent()).trim();
  };
  const wrong = await refusal("sign-in-button", "guessed");
  const taken = await refusal("register-button", "guessed");
  assert.notEqual(wrong, taken);
  assert.equal(await eve.tab.get("composer-input").count(), 0);
  assert.equal((await alice.tab.link()).state, "online");
});

test("an attempt to sign in under another name leaves nothing of the first behind", { timeout: 60_000 }, async () => {
  const alice = await stage.registered("alice");
  const eve = await stage.person("eve");
  const own = eve.jid;
  const isRefused = async () => (await eve.tab.get("sign-in-error").textContent()).trim() !== "";
  await eve.tab.visit();
  eve.jid = alice.jid;
  await eve.tab.enter("sign-in-button", "guessed");
  await until("a refusal", isRefused);
  eve.jid = own;
  await eve.tab.register();
  assert.deepEqual(await eve.tab.databases(), [`counterfoil:${own}`]);
  const held = () => eve.tab.page.evaluate(async () => (await navigator.locks.query()).held.map(({ name }) => name));
  assert.deepEqual(await held(), [`counterfoil:${own}`]);
});

test("an attempt to sign in that failed is forgotten at the next start", { timeout: 60_000 }, async () => {
  const alice = await stage.registered("alice");
  const eve = await stage.person("eve");
  await eve.tab.visit();
  eve.jid = alice.jid;
  await eve.tab.enter("sign-in-button", "guessed");
  await until("a database", async () => (await eve.tab.databases()).length === 1);
  await eve.tab.visit();
  await eve.tab.get("password-input").waitFor();
  assert.deepEqual(await eve.tab.databases(), []);
});

test("the language changes at once, for every text, and stays", { timeout: 60_000 }, async () => {
  const alice = await stage.registered("alice");
  await alice.tab.openChat("somebody@localhost");
  const language = () => alice.tab.page.evaluate(() => document.documentElement.lang.slice(0, 2));
  const words = () => alice.tab.page.evaluate(() => document.body.innerText);
  const change = async () => {
    const control = alice.tab.get("language-switch").first();
    const isList = (await control.evaluate((node) => node.tagName)) === "SELECT";
    if (!isList) return control.click();
    const next = (await control.inputValue()).startsWith("zh") ? "en" : "zh";
    const values = await control.evaluate((node) => [...node.options].map((option) => option.value));
    return control.selectOption(values.find((value) => value.startsWith(next)));
  };
  const isChinese = (text) => /[\u4e00-\u9fff]{2}/.test(text);
  assert.equal(await language(), "en");
  await change();
  await until("Chinese", async () => (await language()) === "zh" && isChinese(await words()));
  await alice.tab.visit();
  await alice.tab.online();
  assert.equal(await language(), "zh");
  assert(isChinese(await words()));
  await change();
  await until("English", async () => (await language()) === "en");
});

test("signing out leaves nothing behind in the browser", { timeout: 60_000 }, async () => {
  const [alice, bob] = await couple();
  await alice.tab.send("secret");
  await hears(bob, "secret");
  await alice.tab.idle();
  await alice.tab.get("sign-out-button").click();
  await alice.tab.get("sign-out-confirm").click();
  await alice.tab.get("password-input").waitFor();
  await until("the stores to be empty", async () => {
    for (const store of ["messages", "outbox", "owed", "conversations", "meta"]) {
      if ((await alice.tab.store(store)).length > 0) return false;
    }
    return true;
  });
  await alice.tab.visit();
  await alice.tab.get("password-input").waitFor();
  await until("the database to be gone", async () => (await alice.tab.databases()).length === 0);
  assert.equal(await alice.tab.page.evaluate(() => localStorage.getItem("counterfoil:account")), null);
  assert(!(await alice.tab.page.evaluate(() => document.body.innerText)).includes("secret"));
  await alice.tab.signIn();
});

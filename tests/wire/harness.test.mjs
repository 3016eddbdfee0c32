// The tools of these suites, tested: a ledger that cannot find a fault or a proxy that does not
// break anything would make every other test here worthless.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { WebSocket, WebSocketServer } from "ws";
import { Ledger } from "../harness/ledger.mjs";
import { Proxy, breakAtRandom } from "../harness/proxy.mjs";
import { Random } from "../harness/random.mjs";
import { Scram } from "../harness/scram.mjs";
import { sleep, until, within } from "../harness/wait.mjs";
import { Frame, NS } from "../harness/xml.mjs";

describe("the ledger", () => {
  const three = () => {
    const ledger = new Ledger();
    for (const token of ["a1", "a2", "a3"]) ledger.acknowledge(ledger.attempt("a", "b", token));
    return ledger;
  };
  const faultsOf = (tokens) => {
    const ledger = three();
    for (const token of tokens) ledger.deliver("b", token);
    const rows = ledger.report();
    const sum = (column) => rows.reduce((total, row) => total + row[column], 0);
    const clean = tokensAreClean(ledger);
    return [sum("lost"), sum("duplicated"), sum("unexpected"), sum("reordered"), clean];
  };

  test("balances when everything arrives once and in order", () => {
    assert.deepEqual(faultsOf(["a1", "a2", "a3"]), [0, 0, 0, 0, true]);
  });
  test("notices a loss", () => {
    assert.deepEqual(faultsOf(["a1", "a3"]), [1, 0, 0, 0, false]);
  });
  test("notices a duplicate", () => {
    assert.deepEqual(faultsOf(["a1", "a2", "a2", "a3"]), [0, 1, 0, 0, false]);
  });
  test("notices a late duplicate without calling it a reordering", () => {
    assert.deepEqual(faultsOf(["a1", "a2", "a3", "a1"]), [0, 1, 0, 0, false]);
  });
  test("notices a reordering", () => {
    assert.deepEqual(faultsOf(["a2", "a1", "a3"]), [0, 0, 0, 1, false]);
  });
  test("notices a message nobody sent", () => {
    assert.deepEqual(faultsOf(["a1", "a2", "a3", "x"]), [0, 0, 1, 0, false]);
  });
  test("notices a message that appears to the wrong person", () => {
    const ledger = three();
    for (const token of ["a1", "a2", "a3"]) ledger.deliver("b", token);
    ledger.deliver("c", "a1");
    assert.equal(tokensAreClean(ledger), false);
  });
  test("notices that one of two devices lacks a message", () => {
    const ledger = new Ledger();
    ledger.acknowledge(ledger.attempt("a", ["b/phone", "b/web"], "a1"));
    ledger.deliver("b/phone", "a1");
    assert.equal(tokensAreClean(ledger), false);
    ledger.deliver("b/web", "a1");
    assert.equal(tokensAreClean(ledger), true);
  });
  test("notices a missing acknowledgement", () => {
    const ledger = new Ledger();
    ledger.attempt("a", "b", "a1");
    ledger.deliver("b", "a1");
    assert.equal(tokensAreClean(ledger), false);
    assert.doesNotThrow(() => ledger.assertClean({ acknowledged: false }));
  });
  test("does not balance when it is empty", () => {
    assert.equal(tokensAreClean(new Ledger()), false);
  });
});

function tokensAreClean(ledger) {
  try {
    ledger.assertClean();
    return true;
  } catch (error) {
    assert.equal(error.code, "ERR_ASSERTION");
    return false;
  }
}

describe("the proxy", () => {
  let echo;
  let proxy;
  before(async () => {
    echo = new WebSocketServer({ port: 0, host: "127.0.0.1" });
    echo.on("connection", (socket) => socket.on("message", (data) => socket.send(data.toString())));
    await new Promise((resolve) => echo.once("listening", resolve));
    proxy = await Proxy.start(echo.address().port, ["<resumed"]);
  });
  after(async () => {
    await proxy.stop();
    for (const client of echo.clients) client.terminate();
    await new Promise((resolve) => echo.close(resolve));
  });

  const dial = async () => {
    const socket = new WebSocket(`ws://127.0.0.1:${proxy.port}/`);
    socket.on("error", () => {});
    const client = { socket, heard: [], isClosed: false };
    socket.on("message", (data) => client.heard.push(data.toString()));
    socket.on("close", () => (client.isClosed = true));
    await within(2_000, "a WebSocket through the proxy", new Promise((resolve, reject) => {
      socket.once("open", resolve);
      socket.once("close", () => reject(new Error("refused")));
    }));
    return client;
  };
  const hears = (client, text) => until(`the echo of ${text}`, () => client.heard.includes(text), { timeoutMs: 2_000 });
  const staysSilent = async (client, text) => {
    await sleep(200);
    assert(!client.heard.includes(text), `${text} came through`);
  };

  test("passes what it is given", async () => {
    const client = await dial();
    client.socket.send("one");
    await hears(client, "one");
    client.socket.terminate();
  });

  for (const rst of [true, false]) {
    test(`cuts every connection by ${rst ? "RST" : "FIN"} and lets new ones pass`, async () => {
      const client = await dial();
      const atServer = [...echo.clients].at(-1);
      const gone = new Promise((resolve) => atServer.once("close", resolve));
      proxy.cut({ rst });
      await until("the client to notice", () => client.isClosed, { timeoutMs: 2_000 });
      await within(2_000, "the server to notice", gone);
      assert.equal(proxy.links, 0);
      const next = await dial();
      next.socket.send("after");
      await hears(next, "after");
      next.socket.terminate();
    });
  }

  test("refuses connections while it is down and takes them when healed", async () => {
    proxy.down();
    await assert.rejects(dial());
    proxy.heal();
    (await dial()).socket.terminate();
  });

  test("delivers late what it stalled, and loses none of it", async () => {
    const client = await dial();
    proxy.stall();
    for (let i = 0; i < 50; i += 1) client.socket.send(`stalled ${i}`);
    await staysSilent(client, "stalled 0");
    assert(!client.isClosed);
    proxy.heal();
    await hears(client, "stalled 49");
    assert.deepEqual(client.heard, Array.from({ length: 50 }, (_, i) => `stalled ${i}`));
    client.socket.terminate();
  });

  for (const direction of ["up", "down", "both"]) {
    test(`swallows for ever what goes ${direction} on a half-open link, and tells nobody`, async () => {
      const client = await dial();
      const atServer = [...echo.clients].at(-1);
      const atServerHeard = [];
      atServer.on("message", (data) => atServerHeard.push(data.toString()));
      proxy.halfOpen(direction);
      client.socket.send("into the void");
      await staysSilent(client, "into the void");
      assert.equal(atServerHeard.includes("into the void"), direction === "down");
      proxy.heal();
      await staysSilent(client, "into the void");
      assert(!client.isClosed && atServer.readyState === WebSocket.OPEN, "somebody was told");
      client.socket.terminate();
      await sleep(100);
      assert.equal(atServer.readyState, WebSocket.OPEN, "the server was told");
      const next = await dial();
      next.socket.send("fresh");
      await hears(next, "fresh");
      next.socket.terminate();
      atServer.terminate();
    });
  }

  test("counts a mark in what the server says, even across chunks", async () => {
    const before = proxy.seen("<resumed");
    const client = await dial();
    client.socket.send("<resumed xmlns='urn:xmpp:sm:3'/>");
    client.socket.send("resumed, but not as an element");
    await hears(client, "resumed, but not as an element");
    assert.equal(proxy.seen("<resumed") - before, 1);
    let tail = proxy.search("", Buffer.from("…<resu"));
    tail = proxy.search(tail, Buffer.from("med h='1'/>"));
    proxy.search(tail, Buffer.from("and no more"));
    assert.equal(proxy.seen("<resumed") - before, 2);
    client.socket.terminate();
  });

  test("breaks links at random only while there is traffic to hit", async () => {
    let left = 3;
    const options = { kinds: ["cut"], everyMs: [1, 5], lengthMs: [1, 5], times: 100, isBusy: () => left-- > 0 };
    const made = await breakAtRandom(proxy, new Random(1), options);
    assert.deepEqual(made, ["cut"]);
    assert(proxy.faults.length > 0);
  });
});

describe("the small tools", () => {
  test("a seed repeats its choices", () => {
    const draw = (seed) => Array.from({ length: 5 }, ((random) => () => random.between(0, 999))(new Random(seed)));
    assert.deepEqual(draw(7), draw(7));
    assert.notDeepEqual(draw(7), draw(8));
  });

  test("waiting ends, and says for what it waited", async () => {
    await assert.rejects(until("a pig to fly", () => false, { timeoutMs: 20 }), /a pig to fly/);
  });

  test("a frame is known by its namespace, whatever its prefix", () => {
    const frame = Frame.parse("<s:features xmlns:s='http://etherx.jabber.org/streams'><sm xmlns='urn:xmpp:sm:3'/></s:features>");
    assert(frame.is("features", NS.streams));
    assert(frame.get("sm", NS.sm));
    assert.throws(() => Frame.parse("<a></b>"));
  });

  test("SCRAM computes the proof of RFC 7677 §3 and accepts only that server", () => {
    const scram = new Scram("SCRAM-SHA-256", "user", "pencil", "rOprNGfwEbeRWgbNEkqO");
    const nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    assert.equal(
      scram.final(`r=${nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096`),
      `c=biws,r=${nonce},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=`,
    );
    assert.equal(scram.verify("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="), true);
    assert.equal(scram.verify("v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="), false);
  });
});

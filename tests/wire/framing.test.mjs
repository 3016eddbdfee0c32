// RFC 7395 §3.3 and RFC 6120 §4.9, §11: what a stream may not contain, and how it ends.
//
// Every case is tried on a stream that has just been opened and, where it makes sense, on one
// that is signed in; in the lobby and in a mailbox.
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { sharedRelay } from "../harness/relay.mjs";
import { within } from "../harness/wait.mjs";
import { Wire, bare, someone } from "../harness/wire.mjs";
import { NS } from "../harness/xml.mjs";

const shared = sharedRelay({ before, after, afterEach });
const MESSAGE = "<message xmlns='jabber:client' to='nobody@localhost' type='chat'><body>x</body></message>";
const OPEN = `<open xmlns='${NS.framing}' to='localhost' version='1.0'/>`;

/** The stream error, then `<close/>` or the end of the socket, and nothing else of substance. */
async function endsWith(wire, condition) {
  const error = await wire.expect((frame) => frame.is("error", NS.streams), `the stream error ${condition}`);
  assert.equal(error.condition, condition, error.xml);
  assert.equal(error.children[0].ns, NS.streamErrors, error.xml);
  const close = wire.expect((frame) => frame.is("close", NS.framing), "<close/>", 3_000);
  await Promise.any([close, within(3_000, "the socket to close", wire.closed)]);
  await within(15_000, "the socket to close", wire.closed);
}

const FORBIDDEN = [
  ["two stanzas in one message", MESSAGE + MESSAGE, "not-well-formed"],
  ["a stanza cut in half", MESSAGE.slice(0, 40), "not-well-formed"],
  ["the second half of a stanza", MESSAGE.slice(40), "not-well-formed"],
  ["a whitespace keepalive", " ", "not-well-formed"],
  ["an empty message", "", "not-well-formed"],
  ["whitespace before a stanza", `\n${MESSAGE}`, "not-well-formed"],
  ["text that is no XML", "hello", "not-well-formed"],
  ["an undeclared prefix", "<a:message xmlns='jabber:client'/>", "not-well-formed"],
  ["two attributes of one name", "<message xmlns='jabber:client' to='a@localhost' to='b@localhost'/>", "not-well-formed"],
  ["a comment alone", "<!-- hello -->", "restricted-xml"],
  ["a comment inside a stanza", MESSAGE.replace("x", "<!-- x -->"), "restricted-xml"],
  ["a processing instruction", "<?php echo 1 ?>", "restricted-xml"],
  ["a processing instruction inside a stanza", MESSAGE.replace("x", "<?a b?>"), "restricted-xml"],
  ["a document type", `<!DOCTYPE message>${MESSAGE}`, "restricted-xml"],
  [
    "an entity of a document type",
    `<!DOCTYPE m [<!ENTITY a "aaaa">]>${MESSAGE.replace("x", "&a;")}`,
    "restricted-xml",
  ],
];

describe("a stream that has been opened", () => {
  for (const hint of [false, true]) {
    const where = hint ? "in a mailbox" : "in the lobby";
    const opened = async () => {
      const wire = await Wire.connect(shared.relay.url(hint ? bare("anybody") : undefined));
      await wire.open();
      return wire;
    };
    for (const [what, frame, condition] of FORBIDDEN) {
      test(`ends with ${condition} after ${what}, ${where}`, async () => {
        const wire = await opened();
        wire.send(frame);
        await endsWith(wire, condition);
      });
    }

    test(`ends with policy-violation after more than 10,000 bytes, ${where}`, async () => {
      const wire = await opened();
      wire.send(MESSAGE.replace("x", "x".repeat(10_001)));
      await endsWith(wire, "policy-violation");
    });

    test(`ends with not-authorized after a stanza, ${where}`, async () => {
      const wire = await opened();
      wire.send(MESSAGE);
      await endsWith(wire, "not-authorized");
    });

    test(`closes with 1003 after binary data, ${where}`, async () => {
      const wire = await opened();
      wire.sendBinary(Buffer.from(MESSAGE));
      const { code } = await within(5_000, "the socket to close", wire.closed);
      assert.equal(code, 1003);
    });

    test(`answers a new <open/> with a new stream id or ends, but never with the old id, ${where}`, async () => {
      const wire = await opened();
      const first = wire.header.attrs.id;
      assert(first.length >= 16, `the stream id ${first} is short`);
      wire.send(OPEN);
      const next = await wire.expect((frame) => frame.is("open", NS.framing) || frame.is("error", NS.streams));
      assert.notEqual(next.attrs.id, first);
    });
  }
});

describe("the first frame", () => {
  for (const hint of [false, true]) {
    const where = hint ? "in a mailbox" : "in the lobby";
    const dial = () => Wire.connect(shared.relay.url(hint ? bare("anybody") : undefined));
    const refuses = async (frame, condition) => {
      const wire = await dial();
      wire.send(frame);
      // RFC 7395 §3.5: an error during the opening comes after the relay's own <open/>.
      const first = await wire.expect(() => true, "any frame");
      assert(first.is("open", NS.framing), `before <open/> came ${first.xml}`);
      await endsWith(wire, condition);
    };

    test(`must be <open/>: a stanza ends the stream with bad-format, ${where}`, () => refuses(MESSAGE, "bad-format"));
    test(`must be of the framing namespace, ${where}`, () =>
      refuses("<open xmlns='jabber:client' to='localhost' version='1.0'/>", "invalid-namespace"));
    test(`must not be the stream element of TCP, ${where}`, async () => {
      const wire = await dial();
      wire.send("<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='localhost' version='1.0'>");
      await wire.expect((frame) => frame.is("open", NS.framing));
      await wire.expect((frame) => frame.is("error", NS.streams));
      await within(15_000, "the socket to close", wire.closed);
    });
    test(`must name a domain of this relay, ${where}`, () =>
      refuses(OPEN.replace("localhost", "elsewhere.example"), "host-unknown"));
    test(`is answered in full: from, id, version and language, ${where}`, async () => {
      const wire = await dial();
      await wire.open();
      const { attrs } = wire.header;
      assert.equal(attrs.from, "localhost");
      assert.equal(attrs.version, "1.0");
      assert(attrs.id && attrs["xml:lang"], wire.header.xml);
      await wire.close();
    });
  }
});

describe("a stream that is signed in", () => {
  let user;
  const signedIn = async () => {
    user = someone("framer");
    await Wire.register(shared.relay, user);
    return Wire.login(shared.relay, user);
  };
  for (const [what, frame, condition] of FORBIDDEN) {
    test(`ends with ${condition} after ${what}`, async () => {
      const wire = await signedIn();
      wire.send(frame);
      await endsWith(wire, condition);
    });
  }

  test("takes a stanza of 200 KiB", async () => {
    const wire = await signedIn();
    const body = "é".repeat(100 * 1024);
    wire.message(bare(user), body);
    await wire.expectMessage(body);
    await wire.close();
  });

  test("ends with policy-violation after more than 256 KiB", async () => {
    const wire = await signedIn();
    wire.send(MESSAGE.replace("x", "x".repeat(256 * 1024 + 1)));
    await endsWith(wire, "policy-violation");
  });

  test("closes with 1003 after binary data", async () => {
    const wire = await signedIn();
    wire.sendBinary(Buffer.from([0xff, 0x00]));
    assert.equal((await within(5_000, "the socket to close", wire.closed)).code, 1003);
  });

  test("declares every namespace in every frame and never begins with anything but <", async () => {
    const wire = await signedIn();
    wire.message(bare(user), "to myself");
    await wire.expectMessage("to myself");
    await wire.settle();
    const frames = wire.transcript().split("\n").filter((line) => line.startsWith("← "));
    for (const frame of frames) assert.match(frame, /^← <[a-z]/);
    await wire.close();
  });

  test("ends by <close/> both ways", async () => {
    const wire = await signedIn();
    await wire.close();
    assert(wire.isClosed);
  });
});

describe("the handshake", () => {
  test("is refused without the sub-protocol xmpp", async () => {
    await assert.rejects(Wire.connect(shared.relay.url(), { protocol: [] }));
    await assert.rejects(Wire.connect(shared.relay.url(), { protocol: "chat" }));
  });

  test("is refused to a page of another site", async () => {
    for (const origin of ["https://evil.example", "null", "http://127.0.0.1.evil.example"]) {
      await assert.rejects(Wire.connect(shared.relay.url(), { headers: { origin } }), undefined, origin);
    }
    const own = await Wire.connect(shared.relay.url(), { headers: { origin: shared.relay.origin } });
    await own.vanish();
  });

  test("offers SCRAM and never PLAIN", async () => {
    for (const account of [undefined, bare("anybody")]) {
      const wire = await Wire.connect(shared.relay.url(account));
      const features = await wire.open();
      const names = features.get("mechanisms", NS.sasl).all("mechanism", NS.sasl).map((mechanism) => mechanism.text);
      assert(names.includes("SCRAM-SHA-256") && names.includes("SCRAM-SHA-1"), features.xml);
      assert(!names.includes("PLAIN") && !features.xml.includes("starttls"), features.xml);
      await wire.close();
    }
  });
});

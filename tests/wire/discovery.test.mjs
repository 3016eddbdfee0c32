// RFC 7395 §4, XEP-0156 §4: where a client that knows only the domain finds the WebSocket.
import assert from "node:assert/strict";
import http from "node:http";
import { after, afterEach, before, describe, test } from "node:test";
import { DOMParser } from "@xmldom/xmldom";
import { sharedRelay } from "../harness/relay.mjs";
import { Wire } from "../harness/wire.mjs";
import { NS } from "../harness/xml.mjs";

const shared = sharedRelay({ before, after, afterEach });
const RELATION = "urn:xmpp:alt-connections:websocket";
const XRD = "http://docs.oasis-open.org/ns/xri/xrd-1.0";

/** One exchange, with the headers exactly as they are given: `fetch` forbids some of them. */
function ask(path, { method = "GET", headers = {} } = {}) {
  return new Promise((resolve, reject) => {
    const request = http.request({ host: "127.0.0.1", port: shared.relay.port, path, method, headers }, (response) => {
      const chunks = [];
      response.on("data", (chunk) => chunks.push(chunk));
      response.on("end", () => {
        resolve({ status: response.statusCode, headers: response.headers, text: Buffer.concat(chunks).toString() });
      });
    });
    request.once("error", reject);
    request.end();
  });
}

function linkOfXrd(text) {
  const root = new DOMParser().parseFromString(text, "text/xml").documentElement;
  assert.deepEqual([root.localName, root.namespaceURI], ["XRD", XRD]);
  const links = [...root.getElementsByTagNameNS(XRD, "Link")];
  const found = links.filter((link) => link.getAttribute("rel") === RELATION).map((link) => link.getAttribute("href"));
  assert.equal(found.length, 1, text);
  return found[0];
}

function linkOfJrd(text) {
  const found = JSON.parse(text).links.filter(({ rel }) => rel === RELATION).map(({ href }) => href);
  assert.equal(found.length, 1, text);
  return found[0];
}

const DOCUMENTS = [
  ["XRD", "/.well-known/host-meta", /^application\/xrd\+xml(;|$)/, linkOfXrd],
  ["JRD", "/.well-known/host-meta.json", /^application\/(jrd\+)?json(;|$)/, linkOfJrd],
];

for (const [name, path, kind, linkOf] of DOCUMENTS) {
  describe(`host-meta as ${name}`, () => {
    test("names the WebSocket, and a stream opens there", async () => {
      const { status, headers, text } = await ask(path);
      assert.equal(status, 200);
      assert.match(headers["content-type"], kind);
      const url = linkOf(text);
      assert.equal(url, `ws://127.0.0.1:${shared.relay.port}/xmpp-websocket`);
      const wire = await Wire.connect(url);
      const features = await wire.open();
      assert(features.get("mechanisms", NS.sasl), features.xml);
      await wire.close();
    });

    test("may be read by pages of every origin, with and without a query behind it", async () => {
      for (const origin of ["https://app.example", "null", `http://127.0.0.1:${shared.relay.port}`]) {
        for (const query of ["", "?resource=bob%40localhost"]) {
          const { status, headers } = await ask(`${path}${query}`, { headers: { Origin: origin } });
          assert.equal(status, 200);
          assert.equal(headers["access-control-allow-origin"], "*");
          // With credentials a browser would not take "*".
          assert.equal(headers["access-control-allow-credentials"], undefined);
        }
      }
    });

    test("is what a browser's question before the question is told it may ask for", async () => {
      const { status, headers } = await ask(path, {
        method: "OPTIONS",
        headers: {
          Origin: "https://app.example",
          "Access-Control-Request-Method": "GET",
          "Access-Control-Request-Headers": "accept,cache-control",
        },
      });
      assert(status === 200 || status === 204, `status ${status}`);
      assert.equal(headers["access-control-allow-origin"], "*");
      assert.match(headers["access-control-allow-methods"] ?? "GET", /GET/);
      const allowed = headers["access-control-allow-headers"] ?? "";
      assert(allowed === "*" || /cache-control/i.test(allowed), `allowed headers: ${allowed}`);
    });

    test("names the host and port that it was asked by, and nothing else's", async () => {
      for (const host of ["chat.example", "chat.example:8443", "[::1]:5280"]) {
        const { text } = await ask(path, { headers: { Host: host } });
        assert.equal(linkOf(text), `ws://${host}/xmpp-websocket`);
      }
    });

    test("names a secure WebSocket where a proxy says that it was asked over TLS", async () => {
      const forwarded = { Host: "chat.example", "X-Forwarded-Proto": "https" };
      assert.equal(linkOf((await ask(path, { headers: forwarded })).text), "wss://chat.example/xmpp-websocket");
      for (const proto of ["http", "gopher", ""]) {
        const { text } = await ask(path, { headers: { ...forwarded, "X-Forwarded-Proto": proto } });
        assert.equal(linkOf(text), "ws://chat.example/xmpp-websocket");
      }
    });

    test("survives a host that is written to break out of it", async () => {
      for (const host of ["a'b\"c&d<e>", "x' rel='y"]) {
        const { status, text } = await ask(path, { headers: { Host: host } });
        if (status === 200) linkOf(text);
        assert(status < 500, `status ${status}`);
      }
    });

    test("is answered to HEAD without a body, and to nothing that would change it", async () => {
      const head = await ask(path, { method: "HEAD" });
      assert.deepEqual([head.status, head.text], [200, ""]);
      for (const method of ["POST", "PUT", "DELETE"]) {
        const { status } = await ask(path, { method });
        assert(status < 500, `${method}: status ${status}`);
      }
    });
  });
}

test("both documents name the same address", async () => {
  const [xrd, jrd] = await Promise.all(DOCUMENTS.map(async ([, path, , linkOf]) => linkOf((await ask(path)).text)));
  assert.equal(xrd, jrd);
});

// Keeps the app on the device: it starts with no network, and changes version only as a whole.
//
// The build replaces the two marks below: the list of every file with the first digits of its
// SHA-256, and a name for the build. One cache serves all versions, because files are kept under
// their contents: what two versions share is fetched once. A version is installed when every
// file is there and is what the list says; until then the one before it serves.

const BUILD = "__BUILD__";
// Screenshots are for whoever has not installed the app yet.
const FILES = new Map(/*PRECACHE*/[].filter(([url]) => !url.startsWith("/screenshots/")));

const CACHE = "counterfoil-files";
// Answered by the relay, never from here.
const RELAY = ["/xmpp-websocket", "/api/", "/.well-known/"];

const keyOf = (url, hash) => `${self.location.origin}${url}?sha256=${hash}`;

async function sha256(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function add(cache, url, hash) {
  const key = keyOf(url, hash);
  if (await cache.match(key)) return;
  let response;
  let bytes;
  // The browser's own cache may hold an older file of this name: then once more, past it.
  for (const mode of ["default", "reload"]) {
    response = await fetch(url, { cache: mode, credentials: "same-origin" });
    if (!response.ok) throw new Error(`${BUILD}: ${url} answers ${response.status}`);
    bytes = await response.arrayBuffer();
    if ((await sha256(bytes)).startsWith(hash)) {
      await cache.put(key, plain(bytes, response.headers));
      return;
    }
  }
  throw new Error(`${BUILD}: ${url} is not the file of this version`);
}

// A response of its own: not a redirect's, not compressed, with the headers (and so the policy)
// it was served with.
function plain(bytes, headers) {
  const kept = new Headers(headers);
  kept.delete("content-encoding");
  kept.delete("content-length");
  return new Response(bytes, { status: 200, headers: kept });
}

async function install() {
  const cache = await caches.open(CACHE);
  for (const [url, hash] of FILES) await add(cache, url, hash);
}

async function activate() {
  const cache = await caches.open(CACHE);
  const mine = new Set(Array.from(FILES, ([url, hash]) => keyOf(url, hash)));
  for (const request of await cache.keys()) {
    if (!mine.has(request.url)) await cache.delete(request);
  }
  for (const name of await caches.keys()) {
    if (name !== CACHE) await caches.delete(name);
  }
  await self.clients.claim();
}

async function serve(request, url) {
  const cache = await caches.open(CACHE);
  const kept = await cache.match(keyOf(url, FILES.get(url)));
  return kept ?? fetch(request);
}

self.addEventListener("install", (event) => event.waitUntil(install()));
self.addEventListener("activate", (event) => event.waitUntil(activate()));

self.addEventListener("message", (event) => {
  if (event.data === "SKIP_WAITING") self.skipWaiting();
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const url = new URL(request.url);
  if (request.method !== "GET" || url.origin !== self.location.origin) return;
  if (RELAY.some((path) => url.pathname.startsWith(path))) return;
  const path = request.mode === "navigate" ? "/" : url.pathname;
  if (FILES.has(path)) event.respondWith(serve(request, path));
});

// Cloudflare's asset server, as far as the app needs it, for plain workerd: types, the rules of
// `_headers`, revalidation, and the page for every address that is no file.
const TYPES = {
  css: "text/css; charset=utf-8",
  html: "text/html; charset=utf-8",
  ico: "image/x-icon",
  js: "text/javascript; charset=utf-8",
  json: "application/json",
  png: "image/png",
  svg: "image/svg+xml",
  txt: "text/plain; charset=utf-8",
  wasm: "application/wasm",
  webmanifest: "application/manifest+json",
  webp: "image/webp",
  woff2: "font/woff2",
};

export default {
  async fetch(request, env) {
    if (request.method !== "GET" && request.method !== "HEAD") {
      return new Response(null, { status: 405, headers: { Allow: "GET, HEAD" } });
    }
    const { pathname } = new URL(request.url);
    let file = await read(env, pathname);
    const isPage = file === null;
    file ??= await read(env, "/index.html");
    if (file === null) return new Response("The app is not built.\n", { status: 404 });

    const extension = isPage ? "html" : pathname.split(".").pop();
    const headers = new Headers({
      "Content-Type": TYPES[extension] ?? "application/octet-stream",
      "Cache-Control": "public, max-age=0, must-revalidate",
    });
    for (const [pattern, name, value] of await rules(env)) {
      if (matches(pattern, pathname)) headers.set(name, value);
    }
    const etag = file.headers.get("Last-Modified");
    if (etag) headers.set("ETag", `W/"${Date.parse(etag)}-${file.headers.get("Content-Length")}"`);
    if (etag && request.headers.get("If-None-Match") === headers.get("ETag")) {
      await file.body?.cancel();
      return new Response(null, { status: 304, headers });
    }
    return new Response(file.body, { headers });
  },
};

// A file's response, or null if there is none to show under that address.
async function read(env, pathname) {
  if (pathname === "/" || pathname.split("/").some((part) => /^[._]/.test(part))) return null;
  const file = await env.FILES.fetch(`http://files${pathname}`);
  if (file.ok && file.headers.get("Content-Type") !== "application/json") return file;
  if (file.ok && pathname.endsWith(".json")) return file;
  await file.body?.cancel();
  return null;
}

async function rules(env) {
  const file = await env.FILES.fetch("http://files/_headers");
  if (!file.ok) return [];
  const found = [];
  let pattern = "";
  for (const line of (await file.text()).split("\n")) {
    const [name, ...value] = line.trim().split(":");
    if (/^\S/.test(line)) pattern = line.trim();
    else if (name) found.push([pattern, name, value.join(":").trim()]);
  }
  return found;
}

function matches(pattern, pathname) {
  return pattern.endsWith("*")
    ? pathname.startsWith(pattern.slice(0, -1))
    : pathname === pattern;
}

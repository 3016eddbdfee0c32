//! The app's files. Cloudflare's asset server needs no help; a bare file server (workerd's disk
//! service) knows no types, no pages and no headers. So what is missing is added, and what is
//! there is left alone.

use worker::{Env, Headers, Method, Request, RequestInit, Response, ResponseBuilder, Result};

const CSP: &str = "default-src 'self'; connect-src 'self' ws: wss:; script-src 'self' 'wasm-unsafe-eval'; \
     style-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'";
const TYPES: [(&str, &str); 14] = [
    ("css", "text/css; charset=utf-8"),
    ("gif", "image/gif"),
    ("html", "text/html; charset=utf-8"),
    ("ico", "image/x-icon"),
    ("jpg", "image/jpeg"),
    ("js", "text/javascript; charset=utf-8"),
    ("json", "application/json"),
    ("png", "image/png"),
    ("svg", "image/svg+xml"),
    ("txt", "text/plain; charset=utf-8"),
    ("wasm", "application/wasm"),
    ("webmanifest", "application/manifest+json"),
    ("webp", "image/webp"),
    ("woff2", "font/woff2"),
];
/// Trunk's hashes have this many hexadecimal digits.
const HASH_DIGITS: usize = 16;

/// Answers a request for a file, or for a page of the app.
pub async fn serve(request: &Request, env: &Env) -> Result<Response> {
    if !matches!(request.method(), Method::Get | Method::Head) {
        let refusal = ResponseBuilder::new().with_status(405).with_header("Allow", "GET, HEAD")?;
        return refusal.error("the app is read with GET", 405);
    }
    let path = request.path();
    let name = file_name(&path);
    if let Some(name) = name {
        let found = get(request, env, &path).await?;
        if is_file(&found, name) {
            return dressed(request, found, name);
        }
    }
    let accept = request.headers().get("Accept")?.unwrap_or_default();
    if path == "/" || accept.contains("text/html") {
        let page = get(request, env, "/index.html").await?;
        if is_file(&page, "index.html") {
            return dressed(request, page, "index.html");
        }
    }
    Response::error("there is nothing here", 404)
}

/// The name of the file that a path names: every part is a plain name, and the last has an
/// extension.
fn file_name(path: &str) -> Option<&str> {
    // What is encoded is no name of ours, and who decodes it later cannot be known here.
    let plain = |part: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.~@+".contains(c);
        !part.is_empty() && !part.starts_with(['.', '_']) && part.chars().all(allowed)
    };
    let path = path.strip_prefix('/')?;
    let name = path.rsplit('/').next()?;
    (path.split('/').all(plain) && name.contains('.')).then_some(name)
}

fn extension(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or_default()
}

/// The disk service answers a folder with a list of its files in JSON.
fn is_file(found: &Response, name: &str) -> bool {
    let kind = found.headers().get("Content-Type").ok().flatten().unwrap_or_default();
    let list = kind.starts_with("application/json") && !extension(name).ends_with("json");
    matches!(found.status_code(), 200 | 304) && !list
}

async fn get(request: &Request, env: &Env, path: &str) -> Result<Response> {
    let headers = Headers::new();
    for name in ["Accept", "If-None-Match", "If-Modified-Since"] {
        if let Some(value) = request.headers().get(name)? {
            headers.set(name, &value)?;
        }
    }
    let mut init = RequestInit::new();
    init.with_method(request.method()).with_headers(headers);
    env.assets("ASSETS")?.fetch(format!("http://assets{path}"), Some(init)).await
}

/// Adds the headers that are missing.
fn dressed(request: &Request, found: Response, name: &str) -> Result<Response> {
    let (status, old) = (found.status_code(), found.headers().clone());
    let headers = Headers::new();
    for (key, value) in old.entries() {
        headers.set(&key, &value)?;
    }
    let add = |key: &str, value: &str| if headers.has(key)? { Ok(()) } else { headers.set(key, value) };
    if headers.get("Content-Type")?.as_deref() == Some("application/octet-stream") {
        headers.delete("Content-Type")?;
    }
    let known = TYPES.iter().find(|(known, _)| *known == extension(name));
    add("Content-Type", known.map_or("application/octet-stream", |(_, kind)| kind))?;
    add("Cache-Control", cache(name))?;
    add("Content-Security-Policy", CSP)?;
    add("X-Content-Type-Options", "nosniff")?;
    add("Referrer-Policy", "no-referrer")?;
    add("Cross-Origin-Opener-Policy", "same-origin")?;
    let (modified, had) = (headers.get("Last-Modified")?, request.headers().get("If-Modified-Since")?);
    if status == 200 && modified.is_some() && modified == had && !headers.has("ETag")? {
        headers.delete("Content-Length")?;
        return Ok(ResponseBuilder::new().with_status(304).with_headers(headers).empty());
    }
    Ok(found.with_headers(headers))
}

/// A file with a hash in its name is never another; of everything else a new one is asked for.
fn cache(name: &str) -> &'static str {
    let hash = |part: &str| {
        part.len() == HASH_DIGITS && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let hashed = name.split(['-', '_', '.']).any(hash);
    if hashed { "public, max-age=31536000, immutable" } else { "no-cache" }
}

//! From Trunk's output to what is served: the boot script as a file of its own, the static files,
//! the service worker with its list, the response headers.
//!
//! Trunk starts the app by an inline script, which `script-src 'self'` forbids; a hash in the
//! policy would change with every build and bind the policy to it. So the script moves to a
//! hashed file. The served folder is brought up to date file by file, pages last, so that a
//! server reading it meanwhile never sees a page whose files are not there yet.

use crate::paths::under_root;
use crate::tools::hex;
use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

/// File name below the served root, with `/` → contents.
type Files = BTreeMap<String, Vec<u8>>;

const HASH_DIGITS: usize = 16;
const PRECACHE_MARK: &str = "/*PRECACHE*/[]";
const BUILD_MARK: &str = "__BUILD__";

const POLICY: &str = "default-src 'self'; connect-src 'self' ws: wss:; \
    script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' data: blob:; \
    object-src 'none'; base-uri 'none'; frame-ancestors 'none'";

/// Turns Trunk's output in `from` into the served folder `to`.
pub fn publish(from: &Path, to: &Path) -> Result<()> {
    let mut files = Files::new();
    read_dir(from, from, &mut files)?;
    let public = under_root("web-client/public");
    if public.is_dir() {
        read_dir(&public, &public, &mut files)?;
    }
    externalise_boot(&mut files)?;
    let template = under_root("web-client/sw.js");
    let template = std::fs::read_to_string(&template)
        .with_context(|| format!("cannot read the service worker {}", template.display()))?;
    let worker = service_worker(&template, &files)?;
    files.insert("sw.js".into(), worker.into_bytes());
    let headers = headers(&files);
    files.insert("_headers".into(), headers.into_bytes());
    write_dir(to, &files)
}

/// Moves the inline module script of `index.html` into `boot-<hash>.js`.
fn externalise_boot(files: &mut Files) -> Result<()> {
    let page = files.get("index.html").context("Trunk wrote no index.html")?;
    let page = String::from_utf8(page.clone()).context("index.html is not UTF-8")?;
    let (page, scripts) = without_inline_scripts(&page)?;
    for (name, script) in scripts {
        files.insert(name, script.into_bytes());
    }
    files.insert("index.html".into(), page.into_bytes());
    Ok(())
}

/// The page with every inline script replaced by a reference, and the files to refer to.
fn without_inline_scripts(page: &str) -> Result<(String, Vec<(String, String)>)> {
    let mut out = String::with_capacity(page.len());
    let mut scripts = Vec::new();
    let mut rest = page;
    while let Some(start) = rest.find("<script") {
        let open_end = rest[start..].find('>').context("a <script> tag has no end")? + start + 1;
        let close = rest[open_end..].find("</script>").context("a <script> has no </script>")?;
        let close = close + open_end;
        let (tag, body) = (&rest[start..open_end], rest[open_end..close].trim());
        if tag.contains("src=") || body.is_empty() {
            out.push_str(&rest[..close]);
        } else {
            let name = format!("boot-{}.js", short_hash(body.as_bytes()));
            out.push_str(&rest[..open_end - 1]);
            let _ = write!(out, " src=\"/{name}\">");
            scripts.push((name, format!("{body}\n")));
        }
        rest = &rest[close..];
    }
    out.push_str(rest);
    if out.contains("<style") {
        bail!("index.html has a <style> element; style-src 'self' would block it");
    }
    Ok((out, scripts))
}

/// Fills the template's two marks: what to keep offline, and a name for this build.
fn service_worker(template: &str, files: &Files) -> Result<String> {
    for mark in [PRECACHE_MARK, BUILD_MARK] {
        if !template.contains(mark) {
            bail!("web-client/sw.js has no {mark} to fill in");
        }
    }
    let list: Vec<[String; 2]> = files.iter().map(|(name, bytes)| [url(name), short_hash(bytes)]).collect();
    let list = serde_json::to_string(&list)?;
    let build = short_hash(format!("{template}{list}").as_bytes());
    Ok(template.replace(PRECACHE_MARK, &list).replace(BUILD_MARK, &build))
}

/// The asset server answers `/index.html` with a redirect to `/`, and a redirected response is
/// no answer to a navigation.
fn url(name: &str) -> String {
    match name {
        "index.html" => "/".into(),
        other => format!("/{other}"),
    }
}

/// The `_headers` file of Cloudflare's asset server. Without a rule a file is revalidated on
/// every use, which is right for names without a hash.
fn headers(files: &Files) -> String {
    let mut text = format!(
        "/*\n  Content-Security-Policy: {POLICY}\n  X-Content-Type-Options: nosniff\n  \
         Referrer-Policy: no-referrer\n  Cross-Origin-Opener-Policy: same-origin\n"
    );
    for path in ["/", "/index.html", "/sw.js", "/manifest.webmanifest"] {
        let _ = write!(text, "{path}\n  Cache-Control: no-cache\n");
    }
    for name in files.keys().filter(|name| is_hashed(name)) {
        let _ = write!(text, "/{name}\n  Cache-Control: public, max-age=31536000, immutable\n");
    }
    text
}

/// Whether the name carries a content hash, as Trunk writes it: `app-0123456789abcdef.css`,
/// `web-client-0123456789abcdef_bg.wasm`.
fn is_hashed(name: &str) -> bool {
    !name.contains('/')
        && name.split('-').skip(1).any(|part| {
            let digits = part.bytes().take_while(u8::is_ascii_hexdigit).count();
            digits == HASH_DIGITS && matches!(part.as_bytes().get(digits), Some(b'.' | b'_'))
        })
}

fn short_hash(bytes: &[u8]) -> String {
    let mut text = hex(&Sha256::digest(bytes));
    text.truncate(HASH_DIGITS);
    text
}

fn read_dir(dir: &Path, base: &Path, files: &mut Files) -> Result<()> {
    let entries = std::fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    for entry in entries {
        let path = entry?.path();
        let Some(name) = path.strip_prefix(base).ok().and_then(Path::to_str) else {
            bail!("{} has a name that is not UTF-8", path.display());
        };
        if name.starts_with('.') {
            continue;
        }
        if path.is_dir() {
            read_dir(&path, base, files)?;
        } else {
            files.insert(name.to_owned(), std::fs::read(&path)?);
        }
    }
    Ok(())
}

/// Makes `dir` hold exactly `files`: new files first, then what refers to them, stale files last.
fn write_dir(dir: &Path, files: &Files) -> Result<()> {
    let refers = |name: &str| match name {
        "sw.js" => 2,
        "index.html" | "_headers" => 1,
        _ => 0,
    };
    let mut order: Vec<&String> = files.keys().collect();
    order.sort_by_key(|name| refers(name));
    for name in order {
        let (path, bytes) = (dir.join(name), &files[name]);
        if std::fs::read(&path).is_ok_and(|found| found == *bytes) {
            continue;
        }
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let partial = path.with_file_name(".partial");
        std::fs::write(&partial, bytes)?;
        std::fs::rename(&partial, &path).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let mut present = Files::new();
    read_dir(dir, dir, &mut present)?;
    for stale in present.keys().filter(|name| !files.contains_key(*name)) {
        std::fs::remove_file(dir.join(stale))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inline_module_script_becomes_a_hashed_file() -> Result<()> {
        let page = "<head><script type=\"module\" nonce>\nimport a from '/a.js';\n</script></head>";
        let (page, scripts) = without_inline_scripts(page)?;
        let (name, body) = &scripts[0];
        assert_eq!(body, "import a from '/a.js';\n");
        assert_eq!(page, format!("<head><script type=\"module\" nonce src=\"/{name}\"></script></head>"));
        assert!(is_hashed(name));
        Ok(())
    }

    #[test]
    fn a_script_that_is_a_file_already_stays() -> Result<()> {
        let page = "<script src=\"/x.js\"></script>";
        assert_eq!(without_inline_scripts(page)?, (page.to_owned(), vec![]));
        Ok(())
    }

    #[test]
    fn the_service_worker_lists_every_file_and_the_page_by_its_address() -> Result<()> {
        let files =
            Files::from([("index.html".into(), b"page".to_vec()), ("icons/a.svg".into(), b"icon".to_vec())]);
        let worker = service_worker("const B='__BUILD__',P=/*PRECACHE*/[];", &files)?;
        assert!(worker.contains("[\"/icons/a.svg\",\""), "{worker}");
        assert!(worker.contains("[\"/\",\""), "{worker}");
        assert!(!worker.contains(BUILD_MARK));
        Ok(())
    }

    #[test]
    fn a_changed_file_is_another_build() -> Result<()> {
        let with = |page: &[u8]| {
            let files = Files::from([("index.html".into(), page.to_vec())]);
            service_worker("__BUILD__/*PRECACHE*/[]", &files)
        };
        assert_ne!(with(b"one")?, with(b"two")?);
        Ok(())
    }

    #[test]
    fn only_names_with_a_content_hash_are_immutable() {
        for name in ["app-0123456789abcdef.css", "web-client-0123456789abcdef_bg.wasm"] {
            assert!(is_hashed(name), "{name}");
        }
        for name in ["sw.js", "icons/icon-192.png", "snippets/x-0123456789abcdef/a.js"] {
            assert!(!is_hashed(name), "{name}");
        }
    }
}

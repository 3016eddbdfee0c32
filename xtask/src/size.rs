//! `cargo xtask size`: what a visitor downloads, as compressed by a good server.

use crate::paths::target;
use crate::tools::Tools;
use anyhow::{Context, Result, bail};

// Node brings both compressors; at their best setting, as files that never change deserve.
const SCRIPT: &str = r#"
const { readdirSync, readFileSync } = require("node:fs");
const { brotliCompressSync, gzipSync } = require("node:zlib");
const rows = readdirSync(".", { recursive: true })
  .filter((name) => /\.(wasm|js|css)$/.test(name)).sort()
  .map((name) => {
    const bytes = readFileSync(name);
    return [name, bytes.length, gzipSync(bytes, { level: 9 }).length, brotliCompressSync(bytes).length];
  });
const sum = (at) => rows.reduce((all, row) => all + row[at], 0);
rows.push(["total", sum(1), sum(2), sum(3)]);
const line = (name, ...numbers) => name.padEnd(44) + numbers.map((n) => String(n).padStart(11)).join("");
console.log(line("bytes", "raw", "gzip", "brotli"));
for (const row of rows) console.log(line(...row));
"#;

/// Prints the table.
pub fn size(tools: &Tools) -> Result<()> {
    let app = target("app");
    if !app.join("index.html").is_file() {
        bail!("nothing is built yet: run `cargo xtask build --release` first");
    }
    let status = tools
        .command(&tools.node)
        .args(["-e", SCRIPT])
        .current_dir(app)
        .status()
        .context("cannot start node")?;
    if !status.success() {
        bail!("the sizes could not be measured");
    }
    Ok(())
}

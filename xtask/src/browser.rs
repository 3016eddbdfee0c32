//! Finds the Chromium that the end-to-end suites drive, or installs Debian's.

use crate::run::{ask, step};
use crate::tools::on_path;
use anyhow::{Result, bail};
use std::path::PathBuf;
use std::process::Command;

const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

/// The browser's executable.
pub fn chromium() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("CHROMIUM").map(PathBuf::from) {
        if named.is_file() {
            return Ok(named);
        }
        bail!("CHROMIUM names {}, which is no file", named.display());
    }
    if let Some(found) = installed() {
        return Ok(found);
    }
    let is_root = ask(Command::new("id").arg("-u")).as_deref() == Some("0");
    if is_root && on_path("apt-get").is_some() {
        step("apt-get update", Command::new("apt-get").arg("update"))?;
        let mut install = Command::new("apt-get");
        install
            .args(["install", "-y", "--no-install-recommends", "chromium", "fonts-noto-cjk"])
            .env("DEBIAN_FRONTEND", "noninteractive");
        step("apt-get install chromium", &mut install)?;
        if let Some(found) = installed() {
            return Ok(found);
        }
    }
    bail!(
        "no browser: put chromium or google-chrome on PATH, or its path into CHROMIUM \
         (Debian: apt-get install -y chromium)"
    )
}

fn installed() -> Option<PathBuf> {
    NAMES.iter().find_map(|name| on_path(name)).or_else(playwright)
}

/// What `playwright install chromium` leaves in the user's cache.
fn playwright() -> Option<PathBuf> {
    let cache = match std::env::var_os("PLAYWRIGHT_BROWSERS_PATH") {
        Some(dir) => PathBuf::from(dir),
        None => PathBuf::from(std::env::var_os("HOME")?).join(".cache/ms-playwright"),
    };
    let mut builds: Vec<PathBuf> = std::fs::read_dir(cache)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|dir| dir.to_string_lossy().contains("/chromium-"))
        .collect();
    builds.sort();
    let programs = ["chrome-linux/chrome", "chrome-linux64/chrome"];
    let found = builds.iter().rev().flat_map(|dir| programs.map(|program| dir.join(program)));
    found.into_iter().find(|file| file.is_file())
}

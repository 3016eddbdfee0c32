//! The `tidy` suite: the house rules of the design as checks that fail.
//!
//! A rule sees one source line at a time, or the whole list of files. Rules are in `rules`; this
//! module reads the tree, tells test code from the rest, and reports.

use crate::paths::{root, under_root};
use crate::rules::{self, Source};
use crate::run::ask;
use crate::tally::Tally;
use anyhow::{Context, Result};
use std::process::Command;

/// A rule's verdict: nothing, or one line `file:line: what` per violation.
pub type Found = Vec<String>;

/// Runs every rule.
pub fn tidy() -> Result<Tally> {
    let sources = sources()?;
    let mut checks: Vec<(&str, Found)> = rules::LINE_RULES
        .iter()
        .map(|(name, rule)| (*name, sources.iter().flat_map(rule).collect()))
        .collect();
    checks.push(("shared depends on no clock, randomness, browser or runtime", shared_is_pure()?));
    checks.push(("edge-relay and web-client do not know each other", drivers_are_apart()?));
    let mut sum = Tally::default();
    for (name, found) in checks {
        let sign = if found.is_empty() { "✓" } else { "✗" };
        eprintln!("  {sign} {name}");
        for line in &found {
            eprintln!("      {line}");
        }
        sum += Tally::check(found.is_empty());
    }
    Ok(sum)
}

/// Every text file git knows or would add.
fn sources() -> Result<Vec<Source>> {
    let mut git = Command::new("git");
    git.args(["ls-files", "--cached", "--others", "--exclude-standard"]).current_dir(root());
    let list = ask(&mut git).context("git cannot list the files; tidy needs a clone")?;
    let mut sources: Vec<Source> = list
        .lines()
        .filter_map(|name| Some(Source::new(name, &std::fs::read_to_string(under_root(name)).ok()?)))
        .collect();
    sources.sort_by(|a, b| a.name.cmp(&b.name));
    sources.dedup_by(|a, b| a.name == b.name);
    Ok(sources)
}

fn shared_is_pure() -> Result<Found> {
    let forbidden =
        ["web-sys", "js-sys", "wasm-bindgen", "worker", "tokio", "getrandom", "rand", "uuid", "chrono"];
    let mut found = Found::new();
    for target in ["x86_64-unknown-linux-gnu", "wasm32-unknown-unknown"] {
        for package in dependencies("shared", target)? {
            if forbidden.contains(&package.as_str()) {
                found.push(format!("shared/Cargo.toml:1: depends on {package} ({target})"));
            }
        }
    }
    Ok(found)
}

fn drivers_are_apart() -> Result<Found> {
    let mut found = Found::new();
    for (driver, other) in [("edge-relay", "web-client"), ("web-client", "edge-relay")] {
        if dependencies(driver, "wasm32-unknown-unknown")?.iter().any(|package| package == other) {
            found.push(format!("{driver}/Cargo.toml:1: depends on {other}"));
        }
    }
    Ok(found)
}

/// The packages that are compiled into `package`, itself included.
fn dependencies(package: &str, target: &str) -> Result<Vec<String>> {
    let mut tree = Command::new("cargo");
    tree.args(["tree", "--package", package, "--all-features", "--edges", "normal"])
        .args(["--target", target, "--prefix", "none", "--format", "{p}"])
        .current_dir(root());
    let tree = ask(&mut tree).with_context(|| format!("cargo tree fails for {package}"))?;
    let name = |line: &str| line.split_whitespace().next().unwrap_or_default().to_owned();
    Ok(tree.lines().map(name).collect())
}

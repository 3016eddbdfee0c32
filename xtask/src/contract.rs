//! The `contract` suite: one contract for every store, run against memory, SQLite and IndexedDB.
//!
//! Relay and driver are built with the feature `contract`, which lets a test reach the store past
//! the engine, into `target/contract` and nowhere else.

use crate::browser;
use crate::paths::{root, target, under_root};
use crate::run::{ask, step};
use crate::tally::Tally;
use crate::test::{cargo, check, node_with_builds, suite, test_files};
use crate::tools::{Tools, npm_install, setup};
use anyhow::{Context, Result};
use std::path::PathBuf;
use std::process::Command;

const WASM: &str = "--target wasm32-unknown-unknown";
const FEATURES: &str = "-p edge-relay -p web-client --features edge-relay/contract,web-client/contract";

/// Checks what only this suite compiles, holds the memory stores to their model, and plays the
/// scripts to the real stores.
pub fn contract() -> Result<Tally> {
    let tools = setup()?;
    let mut sum =
        check("clippy, scripts", &mut cargo("clippy -p tests --bin contract --all-targets -- -D warnings"))?;
    sum +=
        check("clippy, the stores' doors", &mut cargo(&format!("clippy {FEATURES} {WASM} -- -D warnings")))?;
    sum += suite("memory", &mut cargo("test -p tests --bin contract"))?;
    std::fs::create_dir_all(target("contract"))?;
    write_scripts()?;
    build_relay(&tools)?;
    build_client(&tools)?;
    let tests = under_root("tests");
    npm_install("npm packages of the tests", &tests, &tests)?;
    let mut node = node_with_builds(&tools)?;
    node.args(["--test", "--test-concurrency=1", "--test-reporter=spec"])
        .args(test_files(&tests.join("contract"))?)
        .env("COUNTERFOIL_CHROMIUM", browser::chromium()?)
        .env("COUNTERFOIL_CONTRACT", target("contract"));
    sum += suite("SQLite and IndexedDB", &mut node)?;
    Ok(sum)
}

/// With the seed of the variable `SEED`, if there is one.
fn write_scripts() -> Result<()> {
    let mut write = cargo("run -p tests --bin contract --");
    write.arg(target("contract")).args(std::env::var_os("SEED"));
    step("scripts", &mut write).map(|_| ())
}

fn build_relay(tools: &Tools) -> Result<()> {
    let mut worker_build = tools.command(&tools.worker_build);
    worker_build
        .args(["--dev", "--out-dir", "../target/contract/relay", ".", "--features", "contract"])
        .current_dir(under_root("edge-relay"));
    step("relay (dev, with its store's door)", &mut worker_build).map(|_| ())
}

fn build_client(tools: &Tools) -> Result<()> {
    step(
        "driver (dev, with its stores' door)",
        &mut cargo(&format!("build -p web-client --features contract {WASM}")),
    )?;
    let module = target_directory()?.join("wasm32-unknown-unknown/debug/web-client.wasm");
    let mut bindgen = tools.command("wasm-bindgen");
    bindgen
        .args(["--target", "web", "--no-typescript", "--out-dir"])
        .arg(target("contract/client"))
        .arg(module)
        .current_dir(root());
    step("wasm-bindgen", &mut bindgen).map(|_| ())
}

/// Where cargo builds, which need not be inside the clone.
fn target_directory() -> Result<PathBuf> {
    let mut command = Command::new("cargo");
    command.args(["metadata", "--no-deps", "--format-version", "1"]).current_dir(root());
    let metadata = ask(&mut command).context("cargo metadata fails")?;
    let metadata: serde_json::Value = serde_json::from_str(&metadata)?;
    metadata["target_directory"]
        .as_str()
        .map(PathBuf::from)
        .context("cargo metadata names no target_directory")
}

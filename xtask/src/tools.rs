//! The tools a build needs, at one version each, installed below `target/tools`.
//!
//! Cargo's tools come from crates.io, the others from npm by `xtask/tools/package-lock.json`.
//! Nothing is downloaded as a binary from elsewhere, so a mirror of the two registries is enough.
//! A tool named by its variable (`TRUNK_BIN`, `WORKER_BUILD_BIN`, `WASM_BINDGEN_BIN`) or found on
//! `PATH` is taken if its version is the pinned one.

use crate::paths::{root, target, under_root};
use crate::run::{ask, step};
use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

const TRUNK_VERSION: &str = "0.21.14";
const NODE_MAJOR_MIN: u32 = 22; // wrangler 4.164

/// The installed tools.
pub struct Tools {
    /// Node 22: for wrangler, wasm-opt and the test suites.
    pub node: PathBuf,
    /// Trunk.
    pub trunk: PathBuf,
    /// worker-build.
    pub worker_build: PathBuf,
    wasm_bindgen: PathBuf,
}

impl Tools {
    /// `program` with an environment in which every tool finds every other.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut path: Vec<PathBuf> = vec![npm_dir().join("node_modules/.bin"), bin_dir()];
        for tool in [&self.node, &self.wasm_bindgen] {
            path.extend(tool.parent().map(Path::to_path_buf));
        }
        if let Some(inherited) = std::env::var_os("PATH") {
            path.extend(std::env::split_paths(&inherited));
        }
        let mut command = Command::new(program.as_ref());
        command
            .env("PATH", std::env::join_paths(path).unwrap_or_default())
            .env("WASM_BINDGEN_BIN", &self.wasm_bindgen)
            .env("WASM_OPT_BIN", npm_bin("wasm-opt"))
            .env("ESBUILD_BIN", npm_bin("esbuild"))
            .env("TRUNK_SKIP_VERSION_CHECK", "true")
            // Trunk reads NO_COLOR as its own flag and rejects the usual value 1.
            .env_remove("NO_COLOR");
        command
    }

    /// wrangler, quiet and asking nothing of the network or the terminal.
    pub fn wrangler(&self) -> Command {
        let mut command = self.command(&self.node);
        command
            .arg(npm_dir().join("node_modules/wrangler/bin/wrangler.js"))
            .env("WRANGLER_SEND_METRICS", "false")
            .env("WRANGLER_SEND_ERROR_REPORTS", "false")
            .env("WRANGLER_HIDE_BANNER", "true")
            .env("WRANGLER_LOG_PATH", target("logs"))
            .env("CLOUDFLARE_CF_FETCH_ENABLED", "false")
            .env("CI", "1");
        command
    }
}

/// The workerd binary itself, without npm's wrapper script: one process to signal.
pub fn workerd() -> Result<PathBuf> {
    let packages = npm_dir().join("node_modules/@cloudflare");
    for name in ["linux-64", "linux-arm64", "darwin-arm64", "darwin-64"] {
        let binary = packages.join(format!("workerd-{name}/bin/workerd"));
        if binary.is_file() {
            return Ok(binary);
        }
    }
    bail!("workerd has no binary for this machine in npm's packages; see `cargo xtask setup`")
}

/// Installs whatever is missing.
pub fn setup() -> Result<Tools> {
    rust_target("wasm32-unknown-unknown")?;
    npm_install("npm tools", &npm_dir(), &under_root("xtask/tools"))?;
    let worker_version = locked_version("worker")?;
    let bindgen_version = locked_version("wasm-bindgen")?;
    Ok(Tools {
        node: node()?,
        trunk: cargo_tool("trunk", "trunk", TRUNK_VERSION)?,
        worker_build: cargo_tool("worker-build", "worker-build", &worker_version)?,
        wasm_bindgen: cargo_tool("wasm-bindgen", "wasm-bindgen-cli", &bindgen_version)?,
    })
}

/// Adds a Rust target if the toolchain lacks it.
pub fn rust_target(name: &str) -> Result<()> {
    let libdir = ask(Command::new("rustc").args(["--print", "target-libdir", "--target", name]));
    if libdir.is_some_and(|dir| Path::new(&dir).is_dir()) {
        return Ok(());
    }
    let title = format!("rustup target add {name}");
    step(&title, Command::new("rustup").args(["target", "add", name]))
        .with_context(|| format!("the Rust target {name} is missing and rustup could not add it"))?;
    Ok(())
}

/// Makes `dir/node_modules` what the `package-lock.json` of `lock_dir` says; instant if it is.
///
/// `npm install`, not `npm ci`: a lock written where a registry lacks some other system's optional
/// package is complete for this system, and `ci` refuses it. Integrity is checked by both.
pub fn npm_install(title: &str, dir: &Path, lock_dir: &Path) -> Result<()> {
    let mut digest = Sha256::new();
    for file in ["package.json", "package-lock.json"] {
        let source = lock_dir.join(file);
        let bytes = std::fs::read(&source).with_context(|| format!("cannot read {}", source.display()))?;
        digest.update(&bytes);
        if dir != lock_dir {
            std::fs::create_dir_all(dir)?;
            std::fs::write(dir.join(file), bytes)?;
        }
    }
    let wanted = hex(&digest.finalize());
    let stamp = dir.join("node_modules/.counterfoil-lock");
    if std::fs::read_to_string(&stamp).is_ok_and(|found| found == wanted) {
        return Ok(());
    }
    if ask(Command::new("npm").arg("--version")).is_none() {
        bail!("npm is missing: install Node.js with npm (Debian: apt-get install -y nodejs npm)");
    }
    let mut command = Command::new("npm");
    command
        .args(["install", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund"])
        .arg("--loglevel=error")
        .current_dir(dir);
    step(title, &mut command)?;
    std::fs::write(stamp, wanted)?;
    Ok(())
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn node() -> Result<PathBuf> {
    let candidates = [
        std::env::var_os("COUNTERFOIL_NODE").map(PathBuf::from),
        std::fs::canonicalize(npm_bin("node")).ok(),
        on_path("node"),
    ];
    for candidate in candidates.into_iter().flatten() {
        let version = ask(Command::new(&candidate).arg("--version")).unwrap_or_default();
        let major = version.trim_start_matches('v').split('.').next();
        if major.and_then(|major| major.parse().ok()) >= Some(NODE_MAJOR_MIN) {
            return Ok(candidate);
        }
    }
    bail!("npm has no Node {NODE_MAJOR_MIN} for this machine; put one on PATH or into COUNTERFOIL_NODE")
}

fn cargo_tool(binary: &str, package: &str, version: &str) -> Result<PathBuf> {
    let variable = format!("{}_BIN", binary.to_uppercase().replace('-', "_"));
    let candidates =
        [std::env::var_os(variable).map(PathBuf::from), Some(bin_dir().join(binary)), on_path(binary)];
    for candidate in candidates.into_iter().flatten() {
        let said = ask(Command::new(&candidate).arg("--version")).unwrap_or_default();
        if said.split_whitespace().last() == Some(version) {
            return Ok(candidate);
        }
    }
    let title = format!("cargo install {package} {version}");
    let wanted = format!("={version}");
    let install = |locked: &[&str]| {
        let mut command = Command::new("cargo");
        command
            .args(["install", package, "--version", &wanted, "--force", "--root"])
            .arg(target("tools"))
            .args(locked)
            .current_dir(root())
            // A tool that runs for seconds: half the build time matters more than its speed.
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "64")
            .env("CARGO_TARGET_DIR", target("tools/build"));
        step(&title, &mut command)
    };
    // A lockfile may name a release that was withdrawn or is missing from a mirror.
    if let Err(error) = install(&["--locked"]) {
        eprintln!("  {title}: again without its lockfile, because: {}", last_line(&error));
        install(&[])?;
    }
    Ok(bin_dir().join(binary))
}

fn last_line(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    let cause = text.lines().find(|line| line.trim_start().starts_with("error"));
    cause.or(text.lines().last()).unwrap_or_default().to_owned()
}

/// The version of `package` in Cargo.lock: the CLI of wasm-bindgen and of worker must equal the
/// library's.
fn locked_version(package: &str) -> Result<String> {
    let lock = std::fs::read_to_string(under_root("Cargo.lock")).context("cannot read Cargo.lock")?;
    let name = format!("name = \"{package}\"");
    let mut lines = lock.lines().skip_while(|line| *line != name).skip(1);
    match lines.next().and_then(|line| line.split('"').nth(1)) {
        Some(version) => Ok(version.to_owned()),
        None => bail!("Cargo.lock does not mention {package}"),
    }
}

/// The first executable of that name on PATH.
pub fn on_path(program: &str) -> Option<PathBuf> {
    let path: OsString = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

fn bin_dir() -> PathBuf {
    target("tools/bin")
}

fn npm_dir() -> PathBuf {
    target("tools/node")
}

fn npm_bin(name: &str) -> PathBuf {
    npm_dir().join("node_modules/.bin").join(name)
}

//! Builds the two drivers: the app by Trunk, the relay by worker-build.

use crate::app;
use crate::paths::{target, under_root};
use crate::run::step;
use crate::tools::Tools;
use anyhow::{Result, bail};

/// How to compile.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// Fast to build, with line numbers in backtraces.
    Dev,
    /// What users get: small.
    Release,
}

/// Builds app and relay. The app lands in `target/app`, the relay in `edge-relay/build`.
pub fn build(tools: &Tools, profile: Profile) -> Result<()> {
    build_app(tools, profile)?;
    build_relay(tools, profile)
}

fn build_app(tools: &Tools, profile: Profile) -> Result<()> {
    if !under_root("index.html").is_file() {
        bail!("index.html is missing: the app's page, at the root of the repository");
    }
    let mut trunk = tools.command(&tools.trunk);
    trunk.arg("build").current_dir(under_root(""));
    if profile == Profile::Release {
        trunk.arg("--release");
    }
    step(&title("app", profile), &mut trunk)?;
    app::publish(&target("trunk"), &target("app"))
}

fn build_relay(tools: &Tools, profile: Profile) -> Result<()> {
    let mut worker_build = tools.command(&tools.worker_build);
    worker_build
        .arg(match profile {
            Profile::Dev => "--dev",
            Profile::Release => "--release",
        })
        .current_dir(under_root("edge-relay"));
    step(&title("relay", profile), &mut worker_build)?;
    Ok(())
}

fn title(driver: &str, profile: Profile) -> String {
    match profile {
        Profile::Dev => format!("{driver} (dev)"),
        Profile::Release => format!("{driver} (release)"),
    }
}

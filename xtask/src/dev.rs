//! `cargo xtask dev`: relay and app together under wrangler, as they will run when deployed.

use crate::build::{Profile, build};
use crate::paths::under_root;
use crate::server::{free_port, serve};
use crate::tools::setup;
use anyhow::Result;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// What to serve, where.
pub struct Options {
    /// The port on 127.0.0.1.
    pub port: u16,
    /// Where the objects' data stays between runs.
    pub state: PathBuf,
    /// How to build.
    pub profile: Profile,
}

/// Builds and serves until Ctrl-C or SIGTERM.
pub fn dev(options: &Options) -> Result<()> {
    let tools = setup()?;
    build(&tools, options.profile)?;
    std::fs::create_dir_all(&options.state)?;
    let mut wrangler = tools.wrangler();
    wrangler
        .args(["dev", "--local", "--ip", "127.0.0.1", "--port"])
        .arg(options.port.to_string())
        .arg("--inspector-port")
        .arg(free_port()?.to_string())
        .arg("--persist-to")
        .arg(&options.state)
        .arg("--show-interactive-dev-session=false")
        // What is deployed is closed until its operator opens it.
        .args(["--var", "REGISTRATION:open"])
        .env("COUNTERFOIL_BUILT", "1")
        .current_dir(under_root("edge-relay"));
    serve(&mut wrangler, SocketAddr::from((Ipv4Addr::LOCALHOST, options.port)))
}

//! `cargo xtask serve`: the same build under plain workerd, for one's own machine.
//!
//! Everything workerd reads lies in the state folder: the relay as built, the asset worker, the
//! configuration, and `unique-key`, without which the objects' data cannot be found again.

use crate::paths::{target, under_root};
use crate::server::serve as serve_child;
use crate::tools;
use anyhow::{Context, Result, bail};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

const ASSETS: &str = include_str!("../workerd/assets.mjs");

/// Where to serve, and the relay's settings.
pub struct Options {
    /// The address to listen on.
    pub ip: String,
    /// The port to listen on.
    pub port: u16,
    /// Where everything that must survive is kept.
    pub state: PathBuf,
    /// The XMPP domain.
    pub domain: String,
    /// `open` or `closed`.
    pub registration: String,
}

/// Serves the last build until Ctrl-C or SIGTERM.
pub fn serve(options: &Options) -> Result<()> {
    let address = format!("{}:{}", options.ip, options.port);
    let address = address.parse().with_context(|| format!("{address:?} is not an address to listen on"))?;
    tools::setup()?;
    let mut workerd = Command::new(tools::workerd()?);
    workerd.arg("serve").arg("--experimental").arg(write_config(options)?);
    serve_child(&mut workerd, address)
}

/// Puts relay, asset worker and configuration into the state folder; answers the
/// configuration's path.
pub fn write_config(options: &Options) -> Result<PathBuf> {
    let state = &options.state;
    let (relay, app) = (under_root("edge-relay/build"), target("app"));
    if !relay.join("index.js").is_file() || !app.join("index.html").is_file() {
        bail!("nothing is built yet: run `cargo xtask build --release` first");
    }
    for setting in [&options.ip, &options.domain, &options.registration] {
        if !setting.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".:-[]".contains(&byte)) {
            bail!("{setting:?} is neither an address, a domain nor a registration policy");
        }
    }
    std::fs::create_dir_all(state.join("objects"))?;
    for file in ["index.js", "index_bg.wasm"] {
        std::fs::copy(relay.join(file), state.join(file))
            .with_context(|| format!("cannot copy the relay's {file}"))?;
    }
    std::fs::write(state.join("assets.mjs"), ASSETS)?;
    let config = state.join("config.capnp");
    std::fs::write(&config, capnp(options, &app, &unique_key(state)?)?)?;
    Ok(config)
}

fn capnp(options: &Options, app: &Path, unique_key: &str) -> Result<String> {
    let Options { ip, port, domain, registration, state } = options;
    let objects = quoted(&state.join("objects"))?;
    let app = quoted(app)?;
    Ok(format!(
        r#"using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  services = [
    (name = "relay", worker = .relay),
    (name = "assets", worker = .assets),
    (name = "files", disk = (path = {app}, writable = false)),
    (name = "objects", disk = (path = {objects}, writable = true)),
  ],
  sockets = [ (name = "http", address = "{ip}:{port}", http = (), service = "relay") ],
);

const relay :Workerd.Worker = (
  modules = [
    (name = "index.js", esModule = embed "index.js"),
    (name = "index_bg.wasm", wasm = embed "index_bg.wasm"),
  ],
  compatibilityDate = "{date}",
  durableObjectNamespaces = [
    (className = "Mailbox", uniqueKey = "{unique_key}", enableSql = true),
    (className = "Segments", uniqueKey = "{unique_key}-segments", enableSql = true),
  ],
  durableObjectStorage = (localDisk = "objects"),
  bindings = [
    (name = "MAILBOX", durableObjectNamespace = "Mailbox"),
    # There is no R2 here: old history goes to objects of its own, compressed.
    (name = "SEGMENTS", durableObjectNamespace = "Segments"),
    (name = "ASSETS", service = "assets"),
    (name = "DOMAIN", text = "{domain}"),
    (name = "REGISTRATION", text = "{registration}"),
  ],
);

const assets :Workerd.Worker = (
  modules = [ (name = "assets.mjs", esModule = embed "assets.mjs") ],
  compatibilityDate = "{date}",
  bindings = [ (name = "FILES", service = "files") ],
);
"#,
        date = compatibility_date()?,
    ))
}

/// One date for both ways to run: wrangler.toml has it.
fn compatibility_date() -> Result<String> {
    let settings = std::fs::read_to_string(under_root("edge-relay/wrangler.toml"))?;
    let line = settings.lines().find(|line| line.starts_with("compatibility_date"));
    let date = line.and_then(|line| line.split('"').nth(1));
    date.map(str::to_owned).context("edge-relay/wrangler.toml has no compatibility_date")
}

/// The key under which workerd files the objects' data: made once, kept for ever.
fn unique_key(state: &Path) -> Result<String> {
    let file = state.join("unique-key");
    if let Ok(key) = std::fs::read_to_string(&file) {
        return Ok(key.trim().to_owned());
    }
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let key = tools::hex(&bytes);
    std::fs::write(&file, format!("{key}\n"))?;
    Ok(key)
}

fn quoted(path: &Path) -> Result<String> {
    let text = path.to_str().context("a path is not UTF-8")?;
    Ok(serde_json::to_string(text)?)
}

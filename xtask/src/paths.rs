//! Where things are. Tasks run from any folder of the clone.

use std::path::{Path, PathBuf};

/// The root of the clone: `xtask` is its direct child.
pub fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// `path` below the root.
pub fn under_root(path: &str) -> PathBuf {
    root().join(path)
}

/// `path` below `target/`. Always inside the clone, also when cargo builds elsewhere: these are
/// outputs that people and configurations name.
pub fn target(path: &str) -> PathBuf {
    root().join("target").join(path)
}

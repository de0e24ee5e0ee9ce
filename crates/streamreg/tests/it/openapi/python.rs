//! Programs in Python from `scripts/python-tools`.

use std::path::{Path, PathBuf};

/// Returns the path of a program.
pub(super) fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let mut candidates = test.ancestors().map(|folder| folder.join("python-tools/bin").join(name));
    candidates.find(|path| path.exists()).unwrap_or_else(|| panic!("{name} is missing; run scripts/python-tools"))
}

/// Returns the path of a file in this folder.
pub(super) fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/openapi").join(name)
}

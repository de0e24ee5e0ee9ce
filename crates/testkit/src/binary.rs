//! Binaries that tests run.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Returns the path of the `streamreg` binary, built in the same profile as the running test.
///
/// Cargo builds it for the tests of the package `streamreg`. For tests of other packages this function builds it, once
/// per process, so that no test runs an outdated binary.
///
/// # Panics
///
/// Panics if the build fails.
pub fn streamreg_binary() -> PathBuf {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let profile = profile_folder();
        let path = executable(&profile, "streamreg");
        let is_built = std::env::var("CARGO_PKG_NAME").is_ok_and(|package| package == "streamreg");
        if !(is_built && path.exists()) {
            build(&profile, &["-p", "streamreg", "--bin", "streamreg"]);
        }
        path
    })
    .clone()
}

/// Returns the path of the ingest node in `crates/stream-registry/examples/node.rs`; builds it once per process.
///
/// # Panics
///
/// Panics if the build fails.
pub fn node_example() -> PathBuf {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let profile = profile_folder();
        build(&profile, &["-p", "stream-registry", "--example", "node"]);
        executable(&profile.join("examples"), "node")
    })
    .clone()
}

/// Returns the target folder of the running test's profile, e.g. `target/debug`.
fn profile_folder() -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    // Unit tests are in `deps`, doc tests in temporary folders: search upwards for the folder that contains `deps`.
    let profile = test.ancestors().find(|folder| folder.join("deps").is_dir());
    profile.expect("tests run from a target folder").to_owned()
}

fn executable(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}

fn build(profile: &Path, target: &[&str]) {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet"]).args(target).current_dir(env!("CARGO_MANIFEST_DIR"));
    if profile.ends_with("release") {
        command.arg("--release");
    }
    let status = command.status().expect("cargo starts");
    assert!(status.success(), "{command:?} failed");
}

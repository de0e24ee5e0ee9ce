//! The binary under test.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// Returns the path of the `streamreg` that was built in the same profile as the running test.
///
/// Tests of the package `streamreg` find it built by Cargo; for those of other packages it is built,
/// once a process, so that none of them tests an old one.
///
/// # Panics
///
/// When it cannot be built.
pub fn streamreg_binary() -> PathBuf {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let test = std::env::current_exe().expect("a test knows its own path");
        // Tests are in <target>/<profile>/deps, doc-tests elsewhere: the profile's folder holds `deps`.
        let profile =
            test.ancestors().find(|folder| folder.join("deps").is_dir()).expect("tests run from a target folder");
        let path = profile.join(format!("streamreg{}", std::env::consts::EXE_SUFFIX));
        let fresh = std::env::var("CARGO_PKG_NAME").is_ok_and(|package| package == "streamreg");
        if !(fresh && path.exists()) {
            build(profile.ends_with("release"));
        }
        assert!(path.exists(), "cargo build -p streamreg did not make {}", path.display());
        path
    })
    .clone()
}

fn build(release: bool) {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "-p", "streamreg", "--bin", "streamreg"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    if release {
        command.arg("--release");
    }
    let status = command.status().expect("cargo can be run");
    assert!(status.success(), "cargo build -p streamreg failed");
}

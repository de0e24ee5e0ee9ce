//! The programs that tests run as servers.
//!
//! With the environment variable `TEST_SERVER`, all tests that do not choose a program run on another one:
//! `redis8` or `valkey8`.

use std::path::PathBuf;

/// A program that a test runs as its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerKind {
    /// The installed `redis-server`.
    Installed,
    /// Redis 8 from `scripts/newer-servers`.
    Redis8,
    /// Valkey 8 from `scripts/newer-servers`.
    Valkey8,
}

impl Default for ServerKind {
    fn default() -> Self {
        match std::env::var("TEST_SERVER").as_deref() {
            Err(_) => Self::Installed,
            Ok("redis8") => Self::Redis8,
            Ok("valkey8") => Self::Valkey8,
            Ok(other) => panic!("TEST_SERVER={other} is unknown; expected redis8 or valkey8"),
        }
    }
}

impl ServerKind {
    /// Returns the beginning of the server's name and version, as `streamreg doctor` prints them.
    pub fn product(self) -> &'static str {
        match self {
            Self::Installed => "Redis ",
            Self::Redis8 => "Redis 8.",
            Self::Valkey8 => "Valkey 8.",
        }
    }

    /// Returns the program to start.
    pub(super) fn program(self) -> PathBuf {
        match self {
            Self::Installed => PathBuf::from("redis-server"),
            Self::Redis8 => newer_server("redis-server"),
            Self::Valkey8 => newer_server("valkey-server"),
        }
    }
}

fn newer_server(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    // Tests run from a folder within the target folder, e.g. `target/debug/deps`.
    let mut candidates = test.ancestors().map(|folder| folder.join("newer-servers").join(name));
    candidates.find(|path| path.exists()).unwrap_or_else(|| panic!("{name} 8 is missing; run scripts/newer-servers"))
}

//! The programs that tests run as servers.

use std::path::PathBuf;

/// A program that a test runs as its server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServerKind {
    /// The installed `redis-server`.
    #[default]
    Installed,
    /// Redis 8 from `scripts/newer-servers`.
    Redis8,
    /// Valkey 8 from `scripts/newer-servers`.
    Valkey8,
}

impl ServerKind {
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

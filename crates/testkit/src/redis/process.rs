//! The process of a Redis server.

use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use super::{CONFIG_FILE, Role, ServerKind};

/// A running server, killed and reaped when dropped.
#[derive(Debug)]
pub(super) struct Process(Child);

impl Process {
    pub(super) fn start(folder: &Path, kind: ServerKind, role: Role) -> Self {
        let output = std::fs::File::create(folder.join("output.log")).expect("the server's folder is writable");
        let errors = output.try_clone().expect("a file handle can be cloned");
        let program = kind.program();
        let child = Command::new(&program)
            .arg(folder.join(CONFIG_FILE))
            .args((role == Role::Sentinel).then_some("--sentinel"))
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .unwrap_or_else(|error| panic!("{} does not start: {error}; run scripts/setup", program.display()));
        Self(child)
    }

    /// Returns the exit status, or `None` while the process runs.
    pub(super) fn exit_status(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().expect("the state of a child process is available")
    }

    pub(super) fn pid(&self) -> u32 {
        self.0.id()
    }

    pub(super) fn signal(&self, name: &str) {
        // The shell's built-in `kill` needs neither an extra package nor unsafe code.
        let status = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.pid())).status();
        assert!(status.is_ok_and(|status| status.success()), "cannot send SIG{name} to {}", self.pid());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // `kill` fails only if the process has already exited.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Returns the server's output and log, for the message of a failed start.
pub(super) fn read_log(folder: &Path) -> String {
    ["output.log", "redis.log"].map(|name| std::fs::read_to_string(folder.join(name)).unwrap_or_default()).concat()
}

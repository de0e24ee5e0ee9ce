//! The server's process.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

/// A running server; killed and waited for when dropped.
#[derive(Debug)]
pub(super) struct Process(Child);

impl Process {
    pub(super) fn start(folder: &Path, config: &Path) -> Self {
        let output = std::fs::File::create(folder.join("output.log")).expect("the server's folder can be written");
        let errors = output.try_clone().expect("a file handle can be copied");
        let child = Command::new("redis-server")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .spawn()
            .expect("redis-server can be run; install redis-server");
        Self(child)
    }

    /// Returns how the process ended, if it did by itself.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.0.try_wait().expect("a child's state can be asked for")
    }

    pub(super) fn pid(&self) -> u32 {
        self.0.id()
    }

    pub(super) fn signal(&self, name: &str) {
        // The shell's own kill: no package is needed for it, and no unsafe code.
        let status = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.pid())).status();
        assert!(status.is_ok_and(|status| status.success()), "cannot send SIG{name} to {}", self.pid());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only where it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Returns a loopback port that is free at this moment.
pub(super) fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a loopback port can be opened");
    listener.local_addr().expect("a listener has an address").port()
}

/// Returns what the server said, for the message of a failed start.
pub(super) fn read_log(folder: &Path) -> String {
    ["output.log", "redis.log"].map(|name| std::fs::read_to_string(folder.join(name)).unwrap_or_default()).concat()
}

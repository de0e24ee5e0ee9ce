//! Icecast.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use testkit::free_port;

use super::process::{Process, until};
use super::store::exchange;

/// Icecast on a free port. Killed when dropped.
pub(super) struct Icecast {
    process: Option<Process>,
    dir: tempfile::TempDir,
    pub(super) port: u16,
}

impl Icecast {
    pub(super) fn start() -> Self {
        let mut icecast = Self { process: None, dir: tempfile::tempdir().unwrap(), port: free_port() };
        let folder = icecast.dir.path();
        // Icecast refuses to run as root, so it switches to another user, which must be able to write the logs.
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o777)).unwrap();
        let configuration = format!(
            "<icecast>
              <limits><sources>10</sources><source-timeout>5</source-timeout></limits>
              <authentication><source-password>hackme</source-password></authentication>
              <hostname>localhost</hostname>
              <listen-socket><port>{}</port><bind-address>127.0.0.1</bind-address></listen-socket>
              <paths>
                <logdir>{}</logdir><webroot>/usr/share/icecast2/web</webroot>
                <adminroot>/usr/share/icecast2/admin</adminroot>
              </paths>
              <security><changeowner><user>nobody</user><group>nogroup</group></changeowner></security>
            </icecast>",
            icecast.port,
            folder.display()
        );
        std::fs::write(folder.join("icecast.xml"), configuration).unwrap();
        icecast.restart();
        icecast
    }

    pub(super) fn restart(&mut self) {
        let mut process = Process::start(Command::new("icecast2").arg("-c").arg(self.dir.path().join("icecast.xml")));
        until("Icecast answers", || {
            assert!(process.is_running(), "{}", process.stderr());
            self.status().contains("icestats")
        });
        self.process = Some(process);
    }

    pub(super) fn kill(&mut self) {
        self.process.take().unwrap().kill();
    }

    /// Returns the public status page; empty if Icecast does not answer.
    pub(super) fn status(&self) -> String {
        let address = format!("127.0.0.1:{}", self.port);
        exchange(&address, b"GET /status-json.xsl HTTP/1.0\r\n\r\n").unwrap_or_default()
    }

    pub(super) fn api(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The URL for sources.
    pub(super) fn source(&self, mount: &str) -> String {
        format!("icecast://source:hackme@127.0.0.1:{}/{mount}", self.port)
    }

    /// The URL for listeners.
    pub(super) fn listen(&self, mount: &str) -> String {
        format!("http://127.0.0.1:{}/{mount}", self.port)
    }
}

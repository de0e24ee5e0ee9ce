//! nginx with the RTMP module.

use std::process::Command;

use testkit::free_port;

use super::process::{Process, until};
use super::store::get;

/// nginx on free ports, in its own folder. Killed with its workers when dropped.
pub(super) struct Nginx {
    process: Option<Process>,
    dir: tempfile::TempDir,
    pub(super) rtmp: u16,
    pub(super) http: u16,
}

impl Nginx {
    /// Starts nginx with the lines of an application.
    pub(super) fn start(workers: usize, application: &str) -> Self {
        // The system then distributes the requests evenly.
        let option = if workers > 1 { "reuseport" } else { "" };
        Self::with(|rtmp, http| {
            format!(
                "worker_processes {workers};
                http {{ server {{ listen 127.0.0.1:{http} {option}; location /stat {{ rtmp_stat all; }} }} }}
                rtmp {{ server {{ listen 127.0.0.1:{rtmp}; application live {{ live on; {application} }} }} }}"
            )
        })
    }

    /// Starts nginx with a configuration. Adds only what every configuration of a test needs.
    pub(super) fn with(configuration: impl FnOnce(u16, u16) -> String) -> Self {
        let (rtmp, http) = (free_port(), free_port());
        let nginx = Self { process: None, dir: tempfile::tempdir().unwrap(), rtmp, http };
        // The temporary folders of nginx would otherwise be below /var/lib.
        let temporary =
            ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|name| format!("{name}_temp_path {name};"));
        let configuration =
            configuration(rtmp, http).replacen("http {", &format!("http {{ access_log off; {}", temporary.concat()), 1);
        let file = format!(
            "load_module /usr/lib/nginx/modules/ngx_rtmp_module.so; daemon off; pid nginx.pid;
            error_log error.log; events {{ worker_connections 1024; }}\n{configuration}\n"
        );
        std::fs::write(nginx.dir.path().join("nginx.conf"), file).unwrap();
        let mut nginx = nginx;
        nginx.restart();
        nginx
    }

    pub(super) fn restart(&mut self) {
        let mut command = Command::new("/usr/sbin/nginx");
        command.args(["-e", "error.log", "-c", "nginx.conf", "-p"]).arg(self.dir.path());
        let mut process = Process::start(&mut command);
        until("nginx answers", || {
            assert!(process.is_running(), "{}", process.stderr());
            self.stat().is_some()
        });
        self.process = Some(process);
    }

    /// Kills the master and all workers.
    pub(super) fn kill(&mut self) {
        self.process.take().unwrap().kill();
    }

    /// Loads the configuration again, which starts new workers.
    pub(super) fn reload(&self) {
        let master = self.process.as_ref().unwrap().id();
        assert!(Command::new("kill").args(["-s", "HUP", &master.to_string()]).status().unwrap().success());
    }

    /// Returns the statistics page.
    pub(super) fn stat(&self) -> Option<String> {
        get(&format!("127.0.0.1:{}", self.http), "/stat")
    }

    /// Returns the process id of the worker that answers.
    pub(super) fn answering_worker(&self) -> String {
        let stat = self.stat().unwrap();
        stat.split("<pid>").nth(1).unwrap().split('<').next().unwrap().to_owned()
    }

    pub(super) fn api(&self) -> String {
        format!("http://127.0.0.1:{}/stat", self.http)
    }

    pub(super) fn url(&self, name: &str) -> String {
        format!("rtmp://127.0.0.1:{}/live/{name}", self.rtmp)
    }
}

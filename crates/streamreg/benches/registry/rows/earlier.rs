//! Compares the program with itself before it had access control, metrics and request ids.
//!
//! Both programs are built from their sources with the same profile. Each serves a memory store in a process of its own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use testkit::free_port;

use super::http::{Compared, Connection, compare};
use super::note;
use crate::args::Args;
use crate::report::Line;
use crate::{Result, streams};

/// The last commit without access control, metrics and request ids.
const EARLIER: &str = "f82a60d963fe8c0beb465ee7baab6cddc5c88f0b";
/// Target: minimum rate relative to the earlier program.
const RATE: f64 = 0.95;

pub(super) async fn rows(args: &Args) -> Result<Vec<Line>> {
    note("earlier");
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    let earlier = Server::start(&build(&sources(&repository)?)?, &[], None).await?;

    let program = build(&repository)?;
    let folder = tempfile::tempdir()?;
    let access_file = folder.path().join("access.toml");
    let token = create_token(&program, &access_file)?;
    let file = access_file.to_str().ok_or("the temporary folder has no valid name")?;
    let options = ["--access-file", file, "--log", "info", "--log-format", "json"];
    let now = Server::start(&program, &options, Some(token)).await?;

    let stream = streams::stream(0)?;
    let path = format!("/api/v1/streams/{}", stream.id);
    for server in [&earlier, &now] {
        let mut connection = Connection::open(server.port).await?;
        connection.send(&server.request("POST", "/api/v1/streams", &stream.to_json())).await?;
    }
    let mut lines = Vec::new();
    for (name, method, path) in
        [("GET of a stream", "GET", path.clone()), ("POST of a heartbeat", "POST", format!("{path}/heartbeat"))]
    {
        let requests = [&earlier, &now].map(|server| server.request(method, &path, ""));
        let reference = earlier.compared("the earlier program", &requests[0]);
        let subject = now.compared("with an access file, metrics and a log", &requests[1]);
        lines.extend(compare(args, &format!("earlier, {name}"), &reference, &subject, RATE).await?);
    }
    Ok(lines)
}

/// Copies the sources of the earlier program out of the repository, and returns their folder.
fn sources(repository: &Path) -> Result<PathBuf> {
    let folder = repository.join("target/earlier");
    std::fs::create_dir_all(&folder)?;
    let mut archive =
        Command::new("git").current_dir(repository).args(["archive", EARLIER]).stdout(Stdio::piped()).spawn()?;
    let tar = archive.stdout.take().ok_or("git has no stdout")?;
    succeed(Command::new("tar").current_dir(&folder).arg("-x").stdin(tar))?;
    if !archive.wait()?.success() {
        return Err(format!("git has no commit {EARLIER}; fetch the whole history").into());
    }
    Ok(folder)
}

/// Builds the program in a folder, and returns its path.
fn build(folder: &Path) -> Result<PathBuf> {
    let target = folder.join("target");
    let args = ["build", "--release", "--locked", "--quiet", "--package", "streamreg", "--target-dir"];
    let mut command = Command::new(env!("CARGO"));
    // Cargo sets these variables for the benchmark. With them, it would build some crates again in each run.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("CARGO_")) {
        if name != "CARGO_HOME" {
            command.env_remove(name);
        }
    }
    succeed(command.current_dir(folder).args(args).arg(&target))?;
    Ok(target.join("release/streamreg"))
}

/// Creates an access file with one token, and returns the token.
fn create_token(program: &Path, access_file: &Path) -> Result<String> {
    let args = ["token", "new", "--name", "bench", "--scope", "read,write"];
    let output = Command::new(program).args(args).output()?;
    std::fs::write(access_file, output.stderr)?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

fn succeed(command: &mut Command) -> Result<()> {
    let status = command.status()?;
    if status.success() { Ok(()) } else { Err(format!("{command:?} failed: {status}").into()) }
}

/// A running `serve`.
struct Server {
    process: Child,
    port: u16,
    token: Option<String>,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Server {
    /// Starts the program and waits until it is ready.
    async fn start(program: &Path, options: &[&str], token: Option<String>) -> Result<Self> {
        let port = free_port();
        let mut command = Command::new(program);
        command.args(["serve", "--listen", &format!("127.0.0.1:{port}")]).args(options);
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let server = Self { process, port, token };
        let start = Instant::now();
        loop {
            let ready = async {
                let mut connection = Connection::open(port).await?;
                connection.send(&server.request("GET", "/readyz", "")).await
            };
            match ready.await {
                Ok(()) => return Ok(server),
                Err(error) if start.elapsed() > Duration::from_secs(10) => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    fn compared<'a>(&self, name: &'static str, request: &'a str) -> Compared<'a> {
        Compared { name, port: self.port, process: self.process.id(), request }
    }

    /// Returns the text of a request with the token of this server.
    fn request(&self, method: &str, path: &str, body: &str) -> String {
        let token = self.token.as_ref().map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        let length = body.len();
        format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{token}Content-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        )
    }
}

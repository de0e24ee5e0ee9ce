//! Processes of media servers and publishers.

use std::fs::File;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::cli::program;

/// Time limit of every wait. It is long, because many tests with video run at the same time.
pub(super) const DEADLINE: Duration = Duration::from_secs(90);

/// Waits until a condition is met.
#[track_caller]
pub(super) fn until(description: &str, mut is_met: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !is_met() {
        assert!(Instant::now() < deadline, "timed out waiting until {description}");
        std::thread::park_timeout(Duration::from_millis(100));
    }
}

/// Checks that a condition is met for a while.
#[track_caller]
pub(super) fn throughout(period: Duration, description: &str, mut is_met: impl FnMut() -> bool) {
    let end = Instant::now() + period;
    while Instant::now() < end {
        assert!(is_met(), "it is no longer true that {description}");
        std::thread::park_timeout(Duration::from_millis(200));
    }
}

/// A process with a process group of its own. The whole group is killed when this value is dropped.
pub(super) struct Process {
    child: Child,
    dir: tempfile::TempDir,
}

impl Process {
    pub(super) fn start(command: &mut Command) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = |name| Stdio::from(File::create(dir.path().join(name)).unwrap());
        Self::spawn(command.stdin(Stdio::null()).stdout(file("stdout")).stderr(file("stderr")), dir)
    }

    /// Starts a process whose output goes elsewhere.
    pub(super) fn with_own_output(command: &mut Command) -> Self {
        Self::spawn(command, tempfile::tempdir().unwrap())
    }

    fn spawn(command: &mut Command, dir: tempfile::TempDir) -> Self {
        let child = command.process_group(0).spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { child, dir }
    }

    /// Sends a signal by name to the whole group.
    pub(super) fn signal(&self, name: &str) {
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args(["-s", name, "--", &group]).stderr(Stdio::null()).status();
    }

    pub(super) fn kill(mut self) {
        self.signal("KILL");
        let _ = self.child.wait();
    }

    pub(super) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn stdout(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("stdout")).unwrap()
    }

    pub(super) fn stderr(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("stderr")).unwrap()
    }

    /// Waits for the process to exit and returns its status.
    pub(super) fn ended(&mut self) -> Option<i32> {
        until("the process exits", || !self.is_running());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal("KILL");
        let _ = self.child.wait();
    }
}

/// A bridge of the node `edge1`.
pub(super) fn bridge(args: &[&str], store: &str) -> Process {
    bridge_of("edge1", args, store)
}

/// A bridge that is ready.
pub(super) fn bridge_of(node: &str, args: &[&str], store: &str) -> Process {
    let mut process = Process::start(program(&["bridge"]).args(args).args(["--node", node, "--store", store]));
    until("the bridge follows its servers", || {
        assert!(process.is_running(), "{}", process.stderr());
        process.stderr().contains("following ")
    });
    process
}

/// Returns a small file with ten seconds of media, made by ffmpeg.
fn media(name: &str, args: &[&str]) -> PathBuf {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if !file.exists() {
        // Another process may make the same file, so it appears under its name only when it is complete.
        let part = file.with_file_name(format!("{}-{name}", std::process::id()));
        let made = Command::new("ffmpeg").args(["-nostdin", "-loglevel", "error", "-y"]).args(args).arg(&part).output();
        let made = made.unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        std::fs::rename(part, &file).unwrap();
    }
    file
}

const VIDEO: &str = "testsrc=size=160x90:rate=10:duration=10";
const TONE: &str = "sine=frequency=440:duration=10";

fn video() -> &'static Path {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    let encode = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "10", "-pix_fmt", "yuv420p", "-c:a", "aac"];
    let args = [&["-f", "lavfi", "-i", VIDEO, "-f", "lavfi", "-i", TONE][..], &encode].concat();
    FILE.get_or_init(|| media("bridge-test.flv", &args))
}

fn audio() -> &'static Path {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    FILE.get_or_init(|| media("bridge-test.mp3", &["-f", "lavfi", "-i", TONE, "-c:a", "libmp3lame", "-b:a", "64k"]))
}

/// Publishes a file in a loop with ffmpeg, without encoding it again.
fn publish(file: &Path, output: &[&str]) -> Process {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-loglevel", "error", "-re", "-stream_loop", "-1", "-i"]).arg(file);
    Process::start(command.args(["-c", "copy"]).args(output))
}

/// Publishes a small video to an RTMP URL.
pub(super) fn publish_rtmp(url: &str) -> Process {
    publish(video(), &["-f", "flv", url])
}

/// Publishes a tone to an Icecast URL.
pub(super) fn publish_icecast(url: &str) -> Process {
    publish(audio(), &["-content_type", "audio/mpeg", "-f", "mp3", url])
}

/// Reads a stream and throws it away.
pub(super) fn play(url: &str) -> Process {
    Process::start(Command::new("ffmpeg").args([
        "-nostdin",
        "-loglevel",
        "error",
        "-i",
        url,
        "-c",
        "copy",
        "-f",
        "null",
        "-",
    ]))
}

//! The three lines of the README, run as they stand but for ports and folder.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use testkit::{streamreg_binary, wait_until};

use crate::process::Program;

const README: &str = include_str!("../../README.md");
const DEADLINE: Duration = Duration::from_secs(20);

/// The words of the three lines, which need no quoting.
fn lines() -> Vec<Vec<&'static str>> {
    let (_, block) = README.split_once("```console\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    block.lines().map(|line| line.split(' ').collect()).collect()
}

/// A command of these words, with these ones replaced.
fn command(program: &Path, words: &[&str], replaced: &[(&str, &str)], folder: &Path) -> Command {
    let mut command = Command::new(program);
    for word in words {
        let word = replaced.iter().fold((*word).to_owned(), |word, (from, to)| word.replace(from, to));
        command.arg(word);
    }
    command.current_dir(folder);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn the_three_lines_show_a_stream() {
    let lines = lines();
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("target")).unwrap();

    // The server's default port may be taken: it and the node get free ones.
    let (start, words) = lines[0].split_at(4);
    assert_eq!(start, ["cargo", "run", "--release", "--"]);
    let server =
        Program::start(command(&streamreg_binary(), words, &[], folder.path()).args(["--listen", "127.0.0.1:0"]));
    let store = server.word_after("listening on ");

    let (start, words) = lines[1].split_at(6);
    assert_eq!(start, ["cargo", "run", "--release", "-p", "rtp-ingest", "--"]);
    let node = Path::new(env!("CARGO_BIN_EXE_rtp-ingest"));
    let node =
        Program::start(command(node, words, &[], folder.path()).args(["--store", &store, "--listen", "127.0.0.1:0"]));
    let rtp = node.word_after("rtp=");

    let (start, words) = lines[2].split_at(1);
    assert_eq!(start, ["ffmpeg"]);
    let mut sender =
        Program::start(&mut command(Path::new("ffmpeg"), words, &[("127.0.0.1:5004", &rtp)], folder.path()));

    let list = || -> Vec<Value> {
        let output = Command::new(streamreg_binary()).args(["--store", &store, "list", "--output", "json"]).output();
        serde_json::from_slice(&output.unwrap().stdout).unwrap()
    };
    wait_until(DEADLINE, async || {
        let streams = list();
        streams.len() == 1
            && streams[0]["status"] == "active"
            && streams[0]["video_codec"] == "H264"
            && streams[0]["bitrate"].as_u64() > Some(100_000)
            && streams[0]["jitter_ms"].is_number()
    })
    .await;

    // Ctrl-C at the sender: it says good-bye, and the stream is gone long before 10 s of silence.
    sender.interrupt();
    sender.ended().await;
    let gone = wait_until(DEADLINE, async || list().is_empty()).await;
    assert!(gone < Duration::from_secs(8), "{gone:?}");
}

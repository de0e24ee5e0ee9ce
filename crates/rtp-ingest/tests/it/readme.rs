//! Runs the three commands of the README, with other ports and another folder.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use testkit::{streamreg_binary, wait_until};

use crate::process::Program;

const README: &str = include_str!("../../README.md");
const DEADLINE: Duration = Duration::from_secs(20);

/// Returns the three commands, each split into words. No word needs quoting.
fn commands() -> Vec<Vec<&'static str>> {
    let (_, block) = README.split_once("```console\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    block.lines().map(|line| line.split(' ').collect()).collect()
}

/// Builds a command from `words`, with some substrings replaced.
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
async fn readme_commands_register_an_active_stream() {
    let commands = commands();
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("target")).unwrap();

    // The default ports may be in use, so the server and the node get free ports.
    let (start, words) = commands[0].split_at(4);
    assert_eq!(start, ["cargo", "run", "--release", "--"]);
    let server =
        Program::start(command(&streamreg_binary(), words, &[], folder.path()).args(["--listen", "127.0.0.1:0"]));
    let store = server.word_after("listening on ");

    let (start, words) = commands[1].split_at(6);
    assert_eq!(start, ["cargo", "run", "--release", "-p", "rtp-ingest", "--"]);
    let node = Path::new(env!("CARGO_BIN_EXE_rtp-ingest"));
    let node =
        Program::start(command(node, words, &[], folder.path()).args(["--store", &store, "--listen", "127.0.0.1:0"]));
    let rtp = node.word_after("rtp=");

    let (start, words) = commands[2].split_at(1);
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

    // On Ctrl-C the sender sends BYE, so the stream disappears long before the time-out of 10 s.
    sender.interrupt();
    sender.exit_status().await;
    let gone = wait_until(DEADLINE, async || list().is_empty()).await;
    assert!(gone < Duration::from_secs(8), "{gone:?}");
}

//! A client that a generator has created from the document.

use std::path::Path;
use std::process::Output;

use stream_registry::Registry as _;
use tokio::process::Command;

use super::python;
use crate::http::kit::{Server, id};
use crate::readme::blocks;

/// The page with the commands and the program.
const PAGE: &str = include_str!("../../../../../docs/http.md");
/// The address of the server on this page.
const ADDRESS: &str = "127.0.0.1:8580";

/// Returns the only block of a language on the page, for a server.
fn block(language: &str, server: &Server) -> String {
    let mut blocks = blocks(PAGE).into_iter().filter(|(of, ..)| *of == language);
    let (.., block) = blocks.next().unwrap();
    assert!(blocks.next().is_none(), "{language}");
    assert!(block.contains(ADDRESS), "{block}");
    block.replace(ADDRESS, &server.addr.to_string())
}

async fn run(command: &mut Command, folder: &Path) -> Output {
    let output = command.current_dir(folder).kill_on_drop(true).output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}: {}{}", text(&output.stdout), text(&output.stderr));
    output
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_generated_from_the_document_works_as_documented() {
    let (server, registry) = Server::memory().await;
    let folder = tempfile::tempdir().unwrap();
    let commands = block("sh", &server);
    // The first command installs the generator, and the last one installs the client.
    let [install, generate, use_it] = commands.lines().collect::<Vec<_>>()[..] else { panic!("{commands}") };
    assert_eq!(install, "pip install openapi-python-client");
    let mut words = generate.split(' ');
    let generator = python::program(words.next().unwrap());
    run(Command::new(generator).args(words), folder.path()).await;
    let package = folder.path().join(use_it.strip_prefix("pip install ./").unwrap());
    assert!(package.join("pyproject.toml").exists());
    let mut python = Command::new(python::program("python"));
    let output = run(python.args(["-c", &block("python", &server)]).env("PYTHONPATH", &package), folder.path()).await;
    assert!(String::from_utf8_lossy(&output.stdout).contains("outcome=<RegisteredOutcome.CREATED"), "{output:?}");
    let stream = registry.get(&id("cam1")).await.unwrap();
    assert_eq!((stream.source_addr.as_str(), stream.bitrate), ("203.0.113.7:40112", 5_000_000));
}

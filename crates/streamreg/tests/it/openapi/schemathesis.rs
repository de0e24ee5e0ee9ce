//! Runs schemathesis, which sends requests made from the document, valid and invalid ones, and checks the responses.

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

use super::python;
use crate::access::kit::{Guarded, entry, value};
use crate::http::kit::{CAM, Server};

/// Runs schemathesis against a server, with a document and more arguments. The seed makes each run send the same
/// requests.
async fn run(server: &Server, document: &Path, arguments: &[&str]) {
    let run = Command::new(python::program("schemathesis"))
        .arg("--config-file")
        .arg(python::file("schemathesis.toml"))
        .arg("run")
        .arg(document)
        .args(["--url", &format!("http://{}", server.addr), "--seed", "1", "--no-color"])
        .args(["--continue-on-failure", "--output-sanitize", "false"])
        .args(arguments)
        .env("SCHEMATHESIS_HOOKS", python::file("hooks.py"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        // It writes a cache into the folder in which it runs.
        .current_dir(document.parent().unwrap())
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = run.await.unwrap();
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{report}{}", String::from_utf8_lossy(&output.stderr));
    // All operations were tested, so a mistake in the settings cannot make the test pass.
    let count = |label: &str| {
        let line = report.lines().find_map(|line| line.trim().strip_prefix(label));
        line.unwrap_or_else(|| panic!("{report}")).trim().to_owned()
    };
    let selected = count("Selected:");
    let (selected, all) = selected.split_once('/').unwrap();
    assert_eq!((selected, count("Tested:").as_str()), (all, all), "{report}");
}

/// Writes the document of a server to a file, after a change.
async fn document(server: &Server, folder: &Path, change: impl FnOnce(&mut Value)) -> std::path::PathBuf {
    let mut document = server.get("/openapi.json").await.json();
    change(&mut document);
    let file = folder.join("openapi.json");
    std::fs::write(&file, document.to_string()).unwrap();
    file
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schemathesis_finds_no_failure_in_the_server() {
    let (server, _) = Server::memory().await;
    // The stream of the examples.
    assert_eq!(server.json("POST", "/api/v1/streams", CAM).await.status, 201);
    let folder = tempfile::tempdir().unwrap();
    let document = document(&server, folder.path(), |_| {}).await;
    // This server needs no token.
    run(&server, &document, &["--max-examples", "10", "--exclude-checks", "ignored_auth"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schemathesis_finds_no_operation_that_ignores_a_missing_token() {
    let access = Guarded::start(&entry("all", "scopes = [\"read\", \"write\", \"admin\"]")).await;
    assert_eq!(access.request("all", "POST", "/api/v1/streams", CAM).await.status, 201);
    let folder = tempfile::tempdir().unwrap();
    // The document says that some servers need no token. This one does.
    let document = document(&access.server, folder.path(), |document| {
        for item in document["paths"].as_object_mut().unwrap().values_mut() {
            for operation in item.as_object_mut().unwrap().values_mut() {
                if let Some(security) = operation.get_mut("security").and_then(Value::as_array_mut) {
                    security.retain(|requirement| requirement.get("bearer").is_some());
                }
            }
        }
    })
    .await;
    let header = format!("Authorization: Bearer {}", value("all"));
    run(&access.server, &document, &["--max-examples", "3", "--header", &header]).await;
}

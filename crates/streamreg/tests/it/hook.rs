//! Runs `hook mediamtx` below a shell that behaves like MediaMTX: it sets variables and sends SIGINT.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use stream_registry::{Guard, Registry as _, StreamStatus, UnregisterOptions};
use testkit::{FaultProxy, free_port};
use tokio::net::TcpListener;

use crate::cli::{Running, outcome, program, until};
use crate::http::kit::{id, within};
use crate::served::Served;

const ID: &str = "edge1/live/cam1";
/// The connection in the recorded answers.
const RTMP: &str = "28107e97-959d-4a00-97f7-129de769c572";

/// Sets the variables of MediaMTX for a publisher.
fn variables(command: &mut Command, source_id: &str) {
    command.env("MTX_PATH", "live/cam1").env("MTX_SOURCE_TYPE", "rtmpConn").env("MTX_SOURCE_ID", source_id);
    command.env("MTX_QUERY", "token=hunter2").env("RTSP_PORT", "8554");
}

/// Starts the hook directly.
fn hook(store: &str, source_id: &str, args: &[&str]) -> Running {
    let mut command = program(&[&["hook", "mediamtx", "--store", store, "--node", "edge1"], args].concat());
    variables(&mut command, source_id);
    Running::spawn(&mut command)
}

fn ended(reason: &str) -> Vec<(String, String)> {
    vec![(ID.to_owned(), reason.to_owned())]
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_is_registered_until_mediamtx_sends_sigint() {
    let served = Served::start().await;
    let mut hook = hook(&served.url(), "first", &[]);
    let stream = served.record(&id(ID), |_| true).await;
    assert_eq!((stream.kind.as_str(), &stream.status, &*stream.source_addr), ("rtmp", &StreamStatus::Active, ""));
    assert_eq!((&*stream.labels["session"], &*stream.labels["server"]), ("first", "mediamtx"));
    assert_eq!((stream.node.as_deref(), &*stream.labels["proto"]), (Some("edge1"), "rtmp"));
    assert!(!stream.to_json().contains("hunter2"), "{}", stream.to_json());
    hook.signal("INT");
    assert_eq!(hook.ended(), Some(0));
    assert_eq!(served.ends(), ended("publisher disconnected"));
}

#[tokio::test(flavor = "multi_thread")]
async fn newer_publisher_replaces_the_older_one_whose_command_exits_with_0() {
    let served = Served::start().await;
    let mut first = hook(&served.url(), "first", &[]);
    served.record(&id(ID), |stream| stream.labels["session"] == "first").await;
    let mut second = hook(&served.url(), "second", &[]);
    served.record(&id(ID), |stream| stream.labels["session"] == "second").await;
    assert_eq!(first.ended(), Some(0));
    assert_eq!(served.ends(), [], "the older command leaves the stream alone");
    second.signal("INT");
    assert_eq!(second.ended(), Some(0));
    assert_eq!(served.ends(), ended("publisher disconnected"));
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_that_an_operator_has_unregistered_stays_unregistered() {
    let served = Served::start().await;
    let mut hook = hook(&served.url(), "first", &[]);
    served.record(&id(ID), |_| true).await;
    let force = UnregisterOptions::default().guard(Guard::Force);
    served.registry.inner.unregister_with(&id(ID), &force).await.unwrap();
    hook.line_with("was unregistered by another client");
    assert_eq!(hook.ended(), Some(4));
    assert_eq!(served.registry.inner.list().await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_ends_when_mediamtx_is_killed() {
    let served = Served::start().await;
    let mut shell = Command::new("sh");
    shell.args(["-c", "\"$@\" & wait", "sh", env!("CARGO_BIN_EXE_streamreg"), "hook", "mediamtx"]);
    shell.args(["--store", &served.url(), "--node", "edge1"]).stdin(Stdio::null());
    variables(&mut shell, "first");
    let mut shell = Running::spawn(&mut shell);
    served.record(&id(ID), |_| true).await;
    shell.signal("KILL");
    assert_eq!(shell.ended(), None);
    until("the stream is unregistered", || !served.ends().is_empty());
    assert_eq!(served.ends(), ended("the parent process ended"));
}

#[tokio::test(flavor = "multi_thread")]
async fn hook_waits_for_a_registry_that_is_down() {
    let served = Served::start().await;
    let proxy = FaultProxy::start(served.url().trim_start_matches("http://").parse().unwrap()).await;
    let store = format!("http://{}", proxy.addr());
    proxy.refuse().await;
    let mut early = hook(&store, "early", &[]);
    early.line_with("retrying");
    early.signal("INT");
    assert_eq!(early.ended(), Some(0), "a stream that was never registered needs no registry to end");

    let mut hook = hook(&store, "first", &[]);
    hook.line_with("retrying");
    proxy.resume().await;
    served.record(&id(ID), |_| true).await;
    proxy.refuse().await;
    served.is_empty().await;
    proxy.resume().await;
    served.record(&id(ID), |stream| stream.labels["session"] == "first").await;
    hook.signal("TERM");
    assert_eq!(hook.ended(), Some(0));
    assert_eq!(served.ends(), ended("stopped by SIGTERM"));
}

#[test]
fn hook_without_variables_says_where_to_put_the_command() {
    let output = program(&["hook", "mediamtx"]).env_remove("MTX_PATH").output().unwrap();
    let (status, _, stderr) = outcome(output);
    assert_eq!(status, Some(2));
    assert!(stderr.contains("put the command into mediamtx.yml"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn always_available_filler_is_not_registered() {
    let served = Served::start().await;
    let mut command = program(&["hook", "mediamtx", "--store", &served.url()]);
    let mut hook = Running::spawn(command.env("MTX_PATH", "live/cam1"));
    hook.line_with("the path has no publisher");
    hook.signal("INT");
    assert_eq!(hook.ended(), Some(0));
    assert_eq!(served.registry.inner.list().await.unwrap(), []);
}

/// An API that gives recorded answers.
#[derive(Clone)]
struct Api {
    requests: Arc<Mutex<Vec<String>>>,
    is_broken: Arc<Mutex<bool>>,
    path: String,
    connection: String,
}

impl Api {
    /// Starts the API and returns its URL.
    async fn start() -> (Self, String) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../adapters/tests/captures/mediamtx");
        let paths = std::fs::read_to_string(folder.join("path-get.txt")).unwrap();
        let path = paths.lines().find(|line| line.starts_with("{\"name\":\"live/cam1\"")).unwrap().to_owned();
        let connections = std::fs::read_to_string(folder.join("rtmpconns-list.txt")).unwrap();
        let (_, connections) = connections.split_once('\n').unwrap();
        let mut connection = serde_json::from_str::<serde_json::Value>(connections).unwrap()["items"][0].take();
        connection["id"] = RTMP.into();
        connection["remoteAddr"] = "203.0.113.7:40112".into();
        connection["inboundBytes"] = 522_821.into();
        let api =
            Self { requests: Arc::default(), is_broken: Arc::default(), path, connection: connection.to_string() };
        let listener = TcpListener::bind(("127.0.0.1", free_port())).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(Self::answer).with_state(api.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (api, url)
    }

    async fn answer(State(api): State<Self>, request: Request) -> Response {
        let path = request.uri().to_string();
        api.requests.lock().unwrap().push(path.clone());
        if *api.is_broken.lock().unwrap() {
            return (StatusCode::INTERNAL_SERVER_ERROR, "{\"items\":[]}").into_response();
        }
        if path.starts_with("/v3/paths/get/") { api.path } else { api.connection }.into_response()
    }

    fn count(&self) -> usize {
        self.requests.lock().unwrap().len()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn api_adds_address_media_and_statistics_and_its_errors_change_nothing() {
    let served = Served::start().await;
    let (api, url) = Api::start().await;
    let mut hook = hook(&served.url(), RTMP, &["--api", &url]);
    let stream = served.record(&id(ID), |_| true).await;
    assert_eq!((&*stream.source_addr, &*stream.video_codec), ("203.0.113.7:40112", "H264"), "known from the start");
    assert_eq!((&*stream.resolution, stream.audio_codec.as_deref()), ("640x360", Some("AAC")));
    let stream = served.record(&id(ID), |stream| stream.bytes_received > 0).await;
    assert_eq!((stream.bytes_received, stream.viewers), (522_821, Some(2)));
    let asked = api.requests.lock().unwrap()[..2].to_vec();
    assert_eq!(asked, ["/v3/paths/get/live/cam1".to_owned(), format!("/v3/rtmpconns/get/{RTMP}")]);

    *api.is_broken.lock().unwrap() = true;
    hook.line_with("the stream stays as it is");
    let before = api.count();
    within(async {
        while api.count() < before + 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let after = served.record(&id(ID), |_| true).await;
    assert_eq!((after.source_addr, after.created_at), (stream.source_addr, stream.created_at));
    hook.signal("INT");
    assert_eq!(hook.ended(), Some(0));
    assert_eq!(served.ends(), ended("publisher disconnected"));
}

#[tokio::test(flavor = "multi_thread")]
async fn recipe_for_mediamtx_registers_the_stream() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/servers/mediamtx.md");
    let page = std::fs::read_to_string(page).unwrap();
    let commands: Vec<_> = page.lines().filter_map(|line| line.strip_prefix("  runOnReady: streamreg ")).collect();
    assert_eq!(commands.len(), 2, "{commands:?}");
    for command in commands {
        let served = Served::start().await;
        let (_, url) = Api::start().await;
        let command = command.replace("http://127.0.0.1:9997", &url);
        let mut command = program(&command.split(' ').collect::<Vec<_>>());
        command.env("STREAMREG_STORE", served.url());
        variables(&mut command, RTMP);
        let mut hook = Running::spawn(&mut command);
        hook.line_with("/live/cam1");
        let streams = served.registry.inner.list().await.unwrap();
        assert_eq!(streams[0].node.clone().unwrap() + "/live/cam1", streams[0].id.as_str());
        hook.signal("INT");
        assert_eq!(hook.ended(), Some(0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stream_is_registered_although_the_api_is_down() {
    let served = Served::start().await;
    let hook = hook(&served.url(), "first", &["--api", &format!("http://127.0.0.1:{}", free_port())]);
    hook.line_with("no answer from");
    served.record(&id(ID), |stream| stream.kind.as_str() == "rtmp").await;
}

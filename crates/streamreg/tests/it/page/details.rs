//! The details of one stream, and the changes that an operator can make there.

use std::sync::Arc;

use stream_registry::{MemoryRegistry, RegisterOptions, Registry, StreamStats, StreamStatus};
use streamreg::server::ServeOptions;

use super::browser::Tab;
use super::{DESK, IDS, SIGN, STREAMS, add};
use crate::http::kit::{Server, id, stream};

const CLOSED: &str = "document.getElementById('drawer').hidden";
const NOTE: &str = "document.getElementById('action-note').textContent";

fn open_at(server: &Server, query: &str) -> Tab {
    let tab = Tab::open(&format!("http://{}/{query}", server.addr), DESK);
    tab.until(&format!("{STREAMS} && {SIGN} === 'Live'"));
    tab
}

/// Returns an expression for the value of a field in the details.
fn field(name: &str) -> String {
    format!(
        "[...document.querySelectorAll('#fields div')].find((row) => row.firstChild.textContent === '{name}')
           ?.lastChild.textContent"
    )
}

fn text_of(element: &str) -> String {
    format!("document.getElementById('{element}').textContent")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn enter_opens_the_details_and_escape_closes_them() {
    let (server, registry) = Server::memory().await;
    add(&*registry, "cam1", StreamStatus::Active).await;
    let mut second = stream("cam2");
    second.labels = [("site".to_owned(), "north".to_owned())].into();
    second.bitrate = 3_084_704;
    registry.register(&second).await.unwrap();
    let tab = open_at(&server, "");
    tab.eval("document.getElementById('streams').focus()");
    tab.press("ArrowDown");
    tab.press("ArrowDown");
    tab.press("Enter");
    tab.until(&format!("location.search === '?stream=cam2' && !{CLOSED}"));
    tab.until(&format!("{} === '3,084,704 bit/s'", field("Bitrate")));
    assert_eq!(tab.text(&field("Source")), "203.0.113.7:40112");
    assert_eq!(tab.text("document.activeElement.id"), "drawer-close");
    // Statistics are polled, and the chart has one value for each period of 2 s.
    tab.until(&format!("/ .3.1 Mbit.s to 3.1 Mbit.s.$/.test({})", text_of("chart-bitrate-text")));
    tab.eval("globalThis.period = Math.floor(Date.now() / 2000); null");
    tab.until("Math.floor(Date.now() / 2000) > period");
    let stats = StreamStats { bitrate: Some(4_000_000), ..StreamStats::default() };
    registry.update_stats(&id("cam2"), &stats).await.unwrap();
    tab.until(&format!("{} === '4,000,000 bit/s'", field("Bitrate")));
    tab.until(&format!("/^4.0 Mbit.s .3.1 Mbit.s to 4.0 Mbit.s.$/.test({})", text_of("chart-bitrate-text")));
    registry.update_status(&id("cam2"), StreamStatus::Error).await.unwrap();
    tab.until(&format!("{} === 'error'", text_of("drawer-status")));
    tab.until("/ status changed to error$/.test(document.querySelector('#stream-events li').textContent)");
    tab.press("Escape");
    tab.until(&format!("{CLOSED} && location.search === ''"));
    assert_eq!(tab.text("document.activeElement.id"), "streams");
    // A label leads to all streams with this label.
    tab.press("Enter");
    tab.until(&format!("!{CLOSED} && document.querySelector('#labels button').checkVisibility()"));
    tab.click("#labels button");
    tab.until(&format!("{CLOSED} && {IDS} === 'cam2' && location.search === '?label=site%3Dnorth'"));
    tab.until("document.title === '1 stream matches the filters'");
    tab.click("#label");
    tab.until(&format!("{IDS} === 'cam1,cam2'"));
    assert_eq!(tab.text("faults.join()"), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_above_2_to_the_53_are_exact_and_json_is_the_stored_record() {
    let (server, registry) = Server::memory().await;
    let mut cam = stream("it's/cam 1");
    (cam.bytes_received, cam.packets_received, cam.bitrate) = (i64::MAX as u64, (1 << 53) + 1, i64::MAX as u64);
    registry.register(&cam).await.unwrap();
    let tab = open_at(&server, "?stream=it's%2Fcam%201");
    tab.until(&format!("{} === '9,223,372,036,854,775,807'", field("Bytes received")));
    assert_eq!(tab.text(&field("Packets received")), "9,007,199,254,740,993");
    // The JSON has a line for each value, and is otherwise what the server has sent.
    let json = tab.text(&text_of("json"));
    assert!(json.starts_with("{\n  \"id\": \"it's/cam 1\",\n  \"type\": "), "{json}");
    let sent: String = json.lines().map(|line| line.trim_start().replacen("\": ", "\":", 1)).collect();
    assert_eq!(sent, registry.get(&cam.id).await.unwrap().to_json());
    let command = tab.text(&text_of("curl-one"));
    assert_eq!(command, format!("curl 'http://{}/api/v1/stream?id=it%27s%2Fcam%201'", server.addr));
    let done = std::process::Command::new("sh").args(["-c", &command.replace("curl ", "curl -s ")]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&done.stdout), sent);
    tab.call("Page.bringToFront", &serde_json::json!({}));
    tab.click("#copy-json");
    tab.until("['Copied', 'Selected'].includes(document.getElementById('copy-json').textContent)");
    assert_eq!(tab.text("faults.join()"), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operator_changes_the_status_and_ends_a_stream_after_confirmation() {
    let (server, registry) = Server::memory().await;
    add(&*registry, "cam1", StreamStatus::Active).await;
    registry.register_with(&stream("held"), &RegisterOptions::default().lease()).await.unwrap();
    let tab = open_at(&server, "?stream=cam1");
    tab.until("document.getElementById('actions').checkVisibility()");
    tab.eval("document.getElementById('new-status').value = 'paused'");
    tab.click("#set-status button");
    tab.until("document.getElementById('confirm').open");
    assert_eq!(tab.text(&text_of("confirm-text")), "Change the status of cam1 to paused?");
    // Without a confirmation, nothing happens.
    tab.press("Escape");
    tab.until("!document.getElementById('confirm').open");
    assert_eq!(tab.eval(CLOSED), false);
    assert_eq!(registry.get(&id("cam1")).await.unwrap().status, StreamStatus::Active);
    tab.click("#set-status button");
    tab.click("#confirm-yes");
    tab.until(&format!("{NOTE} === 'Change status: done.'"));
    assert_eq!(registry.get(&id("cam1")).await.unwrap().status, StreamStatus::Paused);

    // The stream of a lease needs the same confirmation, which says what happens to its holder.
    tab.eval("document.querySelector('#streams .body .row:nth-child(2)').click()");
    tab.until(&format!(
        "{} === 'held' && document.getElementById('actions').checkVisibility()",
        text_of("drawer-title")
    ));
    tab.type_into("#end-reason", "operator & co");
    tab.click("#end button");
    tab.until("document.getElementById('confirm').open");
    assert!(tab.text(&text_of("confirm-text")).contains("Its holder has a lease"));
    tab.click("#confirm-yes");
    tab.until(&format!("{IDS} === 'cam1' && {} === 'ended'", text_of("drawer-status")));
    tab.until("/ended.*operator & co/.test(document.getElementById('stream-events').textContent)");
    assert_eq!(tab.eval("document.getElementById('actions').hidden"), true);
    assert_eq!(tab.text("faults.join()"), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn change_without_write_access_asks_for_a_token() {
    let registry = Arc::new(MemoryRegistry::new());
    add(&*registry, "cam1", StreamStatus::Active).await;
    let server = Server::start(registry.clone(), ServeOptions::default().token("s3cret")).await;
    let tab = open_at(&server, "?stream=cam1");
    tab.until("document.getElementById('actions').checkVisibility()");
    tab.click("#end button");
    tab.click("#confirm-yes");
    tab.until("document.getElementById('write-token').checkVisibility()");
    assert!(tab.text(NOTE).starts_with("End stream: "), "{}", tab.text(NOTE));
    tab.type_into("#write-token", "s3cret");
    tab.press("Enter");
    tab.until(&format!("{NOTE} === 'Try again with this token.'"));
    assert!(tab.text(&text_of("curl-one")).contains("/api/v1/stream?id=cam1'"));
    tab.click("#end button");
    tab.click("#confirm-yes");
    tab.until(&format!("{} === 'ended'", text_of("drawer-status")));
    assert!(registry.get(&id("cam1")).await.is_err());
    assert_eq!(tab.eval("document.documentElement.outerHTML.includes('s3cret')"), false);
    assert_eq!(tab.text("faults.join()"), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn read_only_server_offers_no_changes() {
    let (writable, registry) = Server::memory().await;
    add(&*registry, "cam1", StreamStatus::Active).await;
    let upstream = Arc::new(stream_registry::HttpRegistry::connect(writable.options().read_only()).await.unwrap());
    let server = Server::start(upstream, ServeOptions::default()).await;
    let tab = open_at(&server, "?stream=cam1");
    tab.until(&format!("{} === '203.0.113.7:40112'", field("Source")));
    tab.until("document.getElementById('server').textContent.endsWith('read-only')");
    assert_eq!(tab.eval("document.getElementById('actions').hidden"), true);
}

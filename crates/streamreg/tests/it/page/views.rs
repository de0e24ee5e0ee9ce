//! The views of nodes, events and ended streams.

use std::sync::Arc;
use std::time::Duration;

use stream_registry::{MemoryRegistry, Registry, StreamStats, StreamStatus, UnregisterOptions};
use streamreg::server::ServeOptions;

use super::browser::Tab;
use super::{DESK, SIGN, add};
use crate::http::kit::{Server, id, stream};

fn open_view(server: &Server, query: &str) -> Tab {
    let tab = Tab::open(&format!("http://{}/?{query}", server.addr), DESK);
    tab.until(&format!("{SIGN} === 'Live'"));
    tab
}

/// Returns an expression for the cells of a table, joined: cells by `|`, rows by line breaks.
fn rows_of(table: &str) -> String {
    format!(
        "[...document.querySelectorAll('#{table} .body .row:not([hidden])')]
           .sort((one, other) => one.ariaRowIndex - other.ariaRowIndex)
           .map((row) => [...row.children].map((cell) => cell.textContent).join('|')).join('\\n')"
    )
}

/// Waits until a table shows rows that begin and end as given.
#[track_caller]
fn expect(tab: &Tab, table: &str, rows: &[&str]) {
    let pattern = serde_json::to_string(&format!("^{}$", rows.join("\n"))).unwrap();
    tab.until(&format!("new RegExp({pattern}).test({})", rows_of(table)));
}

async fn add_on(registry: &dyn Registry, text: &str, node: &str, status: StreamStatus) {
    let mut stream = stream(text);
    (stream.status, stream.node) = (status, Some(node.to_owned()));
    registry.register(&stream).await.unwrap();
}

async fn end(registry: &dyn Registry, text: &str, reason: &str) {
    let options = UnregisterOptions::default().reason(reason.parse().unwrap());
    registry.unregister_with(&id(text), &options).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ended_streams_are_read_from_the_history_and_follow_events() {
    let (server, registry) = Server::memory().await;
    add_on(&*registry, "cam1", "n1", StreamStatus::Active).await;
    let stats = StreamStats { packets_received: Some(97), packets_lost: Some(3), ..StreamStats::default() };
    registry.update_stats(&id("cam1"), &stats).await.unwrap();
    add_on(&*registry, "cam2", "n2", StreamStatus::Active).await;
    add_on(&*registry, "cam3", "n1", StreamStatus::Active).await;
    end(&*registry, "cam1", "camera off").await;
    let tab = open_view(&server, "view=ended");
    let cam1 = r"[\d:]+\|camera off\|cam1\|srt\|203.0.113.7:40112\|n1\|0 s\|3.00 %";
    expect(&tab, "ended", &[cam1]);
    end(&*registry, "cam2", "").await;
    let cam2 = r"[\d:]+\|unregistered\|cam2\|srt\|203.0.113.7:40112\|n2\|\d+ s\|–";
    expect(&tab, "ended", &[cam2, cam1]);
    tab.until("document.getElementById('ended-note').innerText === '2 ended streams, the latest first'");
    tab.type_into("#search", "cam1");
    expect(&tab, "ended", &[cam1]);
    tab.until("document.getElementById('ended-note').innerText === '1 ended stream matches, the latest first'");
    assert_eq!(tab.text("document.getElementById('state').innerText"), "1 ended stream matches, the latest first");
    // A stream of this view has details, too.
    tab.click("#ended .body .row");
    tab.until("document.getElementById('drawer-status').textContent === 'ended'");
    assert_eq!(tab.text("document.getElementById('drawer-title').textContent"), "cam1");
    tab.until("document.getElementById('json').textContent.includes('\"packets_lost\": 3')");
    tab.until("document.getElementById('stream-events').textContent.includes('camera off')");
    assert_eq!(tab.text("faults.join()"), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_appear_as_they_happen_and_can_be_filtered() {
    let (server, registry) = Server::memory().await;
    let tab = open_view(&server, "view=events");
    tab.until("document.getElementById('events-note').textContent.startsWith('No events since ')");
    add_on(&*registry, "cam1", "n1", StreamStatus::Connecting).await;
    registry.update_status(&id("cam1"), StreamStatus::Error).await.unwrap();
    add_on(&*registry, "cam2", "n2", StreamStatus::Active).await;
    end(&*registry, "cam1", "broken").await;
    expect(
        &tab,
        "events",
        &[
            r"[\d:]+\|ended\|cam1\|srt\|[^|]*\|n1\|broken",
            r"[\d:]+\|registered\|cam2\|srt\|[^|]*\|n2\|active",
            r"[\d:]+\|status changed\|cam1\|srt\|[^|]*\|n1\|error",
            r"[\d:]+\|registered\|cam1\|srt\|[^|]*\|n1\|connecting",
        ],
    );
    // The latest event is an end, which has details of its own.
    tab.click("#events .body .row");
    tab.until("document.getElementById('fields').textContent.includes('Reasonbroken')");
    assert!(tab.text("location.search").starts_with("?view=events&stream=cam1&ended="));
    tab.type_into("#search", "n2");
    expect(&tab, "events", &[r"[\d:]+\|registered\|cam2\|.*"]);
    assert_eq!(tab.text("faults.join()"), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_view_keeps_only_the_latest_events() {
    let (server, registry) = Server::memory().await;
    let tab = open_view(&server, "view=events");
    for number in 0..1_300 {
        add(&*registry, &format!("cam{number:04}"), StreamStatus::Active).await;
    }
    tab.until("document.getElementById('events').ariaRowCount === '501'");
    expect(&tab, "events", &[r"[\d:]+\|registered\|cam1299\|[^]*"]);
    assert!(tab.eval("document.querySelectorAll('#events .row').length").as_u64().unwrap() < 60);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_show_their_streams_and_whether_they_are_silent() {
    let registry = Arc::new(MemoryRegistry::with_ttl(Duration::from_secs(8)).unwrap());
    add_on(&*registry, "gone", "n3", StreamStatus::Active).await;
    end(&*registry, "gone", "").await;
    add_on(&*registry, "quiet", "n2", StreamStatus::Active).await;
    for (text, status) in [("cam1", StreamStatus::Active), ("cam2", StreamStatus::Error)] {
        add_on(&*registry, text, "n1", status).await;
        let stats = StreamStats {
            bitrate: Some(2_000_000),
            packets_received: Some(99),
            packets_lost: Some(1),
            ..StreamStats::default()
        };
        registry.update_stats(&id(text), &stats).await.unwrap();
    }
    let beating = registry.clone();
    let heart = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_millis(300));
        loop {
            ticks.tick().await;
            for text in ["cam1", "cam2"] {
                beating.update_heartbeat(&id(text)).await.unwrap();
            }
        }
    });
    let server = Server::start(registry.clone(), ServeOptions::default()).await;
    let tab = open_view(&server, "view=nodes");
    let n1 = r"sending\|n1\|2\|1\|4.0 Mbit/s\|1.00 %\|[0-3] s";
    let n3 = r"no streams\|n3\|0\|0\|0 bit/s\|–\|\d+ s";
    // A node is silent if half of the time to live has passed without a heartbeat of any stream.
    expect(&tab, "nodes", &[r"silent\|n2\|1\|0\|0 bit/s\|–\|[4-8] s", n3, n1]);
    // Then its streams expire.
    expect(&tab, "nodes", &[r"no streams\|n2\|0\|0\|0 bit/s\|–\|\d+ s", n3, n1]);
    tab.click("#chips .chip.error");
    tab.until("document.getElementById('nodes-note').textContent === '1 node has matching streams'");
    expect(&tab, "nodes", &[r"sending\|n1\|1\|1\|2.0 Mbit/s\|1.00 %\|[0-3] s"]);
    // The statuses filter events by their own, and ended streams have none.
    let count = "document.querySelector('#chips .chip.error .count').checkVisibility()";
    let clear = "document.getElementById('clear').checkVisibility()";
    assert_eq!((tab.eval(count), tab.eval(clear)), (true.into(), true.into()));
    tab.click("#views [data-view=events]");
    assert_eq!((tab.eval(count), tab.eval(clear)), (false.into(), true.into()));
    tab.click("#views [data-view=ended]");
    assert_eq!(tab.eval(clear), false);
    tab.click("#views [data-view=nodes]");
    tab.click("#clear");
    expect(&tab, "nodes", &[r"no streams\|n2\|0\|0\|0 bit/s\|–\|\d+ s", n3, n1]);
    tab.eval("document.getElementById('nodes').focus()");
    tab.press("End");
    tab.press("Enter");
    tab.until("location.search === '?node=n1' && !document.getElementById('streams').hidden");
    heart.abort();
    assert_eq!(tab.text("faults.join()"), "");
}

//! How the dashboard follows the change feed, and what it shows when it cannot.

use std::sync::Arc;
use std::time::Duration;

use stream_registry::{MemoryRegistry, Registry as _, StreamStatus};
use streamreg::server::ServeOptions;

use super::browser::Tab;
use super::{DESK, IDS, OUTAGE, SIGN, STREAMS, add, open};
use crate::http::kit::{BlockingRegistry, Server, id};
use crate::http::proxy::decoding_proxy;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_change_the_list_without_reading_it_again() {
    let (server, registry) = Server::memory().await;
    add(&*registry, "cam2", StreamStatus::Active).await;
    let tab = open(&server, DESK);
    tab.until(&format!("{SIGN} === 'Live' && {IDS} === 'cam2'"));
    // Statistics and totals are polled, so this counts only the lists that contain all streams.
    let lists = "performance.getEntriesByType('resource').filter(({ name }) => /streams\\?sort=id/.test(name)).length";
    assert_eq!(tab.eval(lists), 1);
    add(&*registry, "cam1", StreamStatus::Active).await;
    add(&*registry, "cam3", StreamStatus::Active).await;
    tab.until(&format!("{IDS} === 'cam1,cam2,cam3'"));
    registry.unregister(&id("cam2")).await.unwrap();
    tab.until(&format!("{IDS} === 'cam1,cam3'"));
    assert_eq!(tab.eval(lists), 1);
    assert_eq!(tab.text("faults.join()"), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn list_is_loaded_again_after_the_store_was_replaced() {
    let (mut server, registry) = Server::memory().await;
    add(&*registry, "old", StreamStatus::Active).await;
    let tab = open(&server, DESK);
    tab.until(&format!("{SIGN} === 'Live' && {IDS} === 'old'"));
    // The revision of the old store means nothing to the new one, which answers with a resync.
    let replacement = Arc::new(MemoryRegistry::new());
    add(&*replacement, "new", StreamStatus::Active).await;
    server
        .restart(replacement.clone(), async {
            tab.until(OUTAGE);
            assert!(tab.text(SIGN).starts_with("Not live, data from "));
            assert_eq!(tab.text(IDS), "old");
        })
        .await;
    tab.until(&format!("{SIGN} === 'Live' && {IDS} === 'new' && !({OUTAGE})"));
    add(&*replacement, "newer", StreamStatus::Active).await;
    tab.until(&format!("{IDS} === 'new,newer'"));
    assert_eq!(tab.text("faults.join()"), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn store_without_a_change_feed_is_read_again() {
    let registry = BlockingRegistry::with_ttl(Duration::from_secs(300));
    add(&*registry, "cam1", StreamStatus::Active).await;
    let server = Server::start(registry.clone(), ServeOptions::default()).await;
    let fast = "const wait = setTimeout; globalThis.setTimeout = (run, ms) => wait(run, ms / 10);";
    let tab = Tab::open_observed(&format!("http://{}/", server.addr), DESK, fast);
    tab.until(&format!("{SIGN} === 'Live' && {IDS} === 'cam1'"));
    add(&*registry, "cam2", StreamStatus::Active).await;
    registry.unregister(&id("cam1")).await.unwrap();
    tab.until(&format!("{SIGN} === 'Live' && {IDS} === 'cam2'"));
    assert_eq!(tab.eval("document.getElementById('outage').hidden"), true);
    assert_eq!(tab.text("faults.join()"), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_tabs_show_the_same_streams() {
    let (server, registry) = Server::memory().await;
    add(&*registry, "cam1", StreamStatus::Active).await;
    let tabs = [open(&server, DESK), open(&server, DESK)];
    for tab in &tabs {
        tab.until(&format!("{SIGN} === 'Live' && {IDS} === 'cam1'"));
    }
    add(&*registry, "cam2", StreamStatus::Active).await;
    for tab in &tabs {
        tab.until(&format!("{IDS} === 'cam1,cam2'"));
        assert_eq!(tab.text("faults.join()"), "");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dashboard_works_below_the_path_of_a_proxy() {
    let (server, registry) = Server::memory().await;
    add(&*registry, "a/b", StreamStatus::Active).await;
    let proxy = decoding_proxy(server.addr).await;
    let tab = Tab::open(&format!("http://{proxy}/registry/"), DESK);
    tab.until(&format!("{SIGN} === 'Live' && {IDS} === 'a/b'"));
    add(&*registry, "c", StreamStatus::Active).await;
    tab.until(&format!("{IDS} === 'a/b,c'"));
    tab.click("#streams .body .row");
    tab.until("document.getElementById('fields').textContent.includes('203.0.113.7:40112')");
    let command = format!("curl 'http://{proxy}/registry/api/v1/stream?id=a%2Fb'");
    assert_eq!(tab.text("document.getElementById('curl-one').textContent"), command);
    tab.press("Escape");
    tab.until("location.pathname + location.search === '/registry/'");
    assert_eq!(tab.text("faults.join()"), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hidden_tab_closes_its_events_and_resumes_when_shown() {
    let (server, registry) = Server::memory().await;
    add(&*registry, "cam1", StreamStatus::Active).await;
    let tab = open(&server, DESK);
    tab.until(&format!("{STREAMS} && {SIGN} === 'Live'"));
    let readers = async || server.get("/metrics").await.body.contains("\nstreamreg_event_readers 1\n");
    assert!(readers().await);
    // Time passes quickly in this tab, except for the pauses between events.
    tab.eval(
        "globalThis.away = true; const wait = setTimeout;
         globalThis.setTimeout = (run, ms) => wait(run, ms === 10000 ? 0 : ms);
         Object.defineProperty(document, 'hidden', { get: () => away });
         document.dispatchEvent(new Event('visibilitychange')); null",
    );
    tab.until(&format!("{SIGN} === 'Paused'"));
    let deadline = tokio::time::Instant::now() + crate::http::kit::PATIENCE;
    while readers().await {
        assert!(tokio::time::Instant::now() < deadline, "the events are still open");
    }
    add(&*registry, "cam2", StreamStatus::Active).await;
    tab.eval("away = false; document.dispatchEvent(new Event('visibilitychange')); null");
    tab.until(&format!("{IDS} === 'cam1,cam2' && {SIGN} === 'Live'"));
    assert_eq!(tab.text("faults.join()"), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dashboard_says_that_its_data_is_old_if_events_stop() {
    let registry = Arc::new(MemoryRegistry::new());
    add(&*registry, "cam1", StreamStatus::Active).await;
    let server = Server::start(registry, ServeOptions::default()).await;
    let tab = open(&server, DESK);
    tab.until(&format!("{STREAMS} && {SIGN} === 'Live'"));
    // The clock of the tab jumps, as after the machine was suspended.
    tab.eval("const now = Date.now; Date.now = () => now() + 30000; null");
    tab.until(&format!("{SIGN}.startsWith('Not live, data from ') && document.body.classList.contains('stale')"));
    // The next sign of life shows that the data is current.
    tab.eval("document.getElementById('clear').click(); null");
    assert_eq!(tab.text("faults.join()"), "");
}

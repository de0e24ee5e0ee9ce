//! The dashboard over HTTPS, where browsers use HTTP/2.

use std::sync::Arc;

use stream_registry::{MemoryRegistry, Registry as _, StreamStatus};
use testkit::TestTls;

use super::browser::Tab;
use super::{COUNT, DESK, STREAMS, add, row};
use crate::http::kit::Server;
use crate::http::tls::options;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dashboard_and_eight_event_readers_share_one_connection_of_a_browser() {
    let tls = TestTls::new();
    let registry = Arc::new(MemoryRegistry::new());
    add(&*registry, "cam1", StreamStatus::Active).await;
    let server = Server::start(registry.clone(), options(&tls)).await;
    let tab = Tab::open(&format!("https://{}/", server.addr), DESK);
    tab.until(STREAMS);
    assert!(row(&tab, "cam1").starts_with("active|cam1|srt|"));
    // With HTTP/1.1, a browser opens at most six connections to a host, and the dashboard could not refresh.
    tab.eval(
        "globalThis.seen = Array(8).fill('');
         globalThis.sources = seen.map((_, n) => {
           const events = new EventSource('/api/v1/events');
           events.onmessage = (event) => { seen[n] += event.data; };
           return events;
         });
         null",
    );
    tab.until("sources.every((events) => events.readyState === EventSource.OPEN)");
    add(&*registry, "cam2", StreamStatus::Active).await;
    tab.until("seen.every((events) => events.includes('\"cam2\"'))");
    tab.until(&format!("{COUNT} === 2"));
    let protocols = "[...new Set(['navigation', 'resource'].flatMap((type) => performance.getEntriesByType(type))
        .map((entry) => entry.nextHopProtocol))].join()";
    assert_eq!(tab.text(protocols), "h2");
    assert_eq!(tab.text("faults.join()"), "");
    registry.close().await.unwrap();
}

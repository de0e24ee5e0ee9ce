//! The dashboard of a server whose reads need a token.

use std::sync::Arc;

use stream_registry::{MemoryRegistry, StreamStatus};
use streamreg::server::ServeOptions;

use super::browser::Tab;
use super::{DESK, PHONE, STREAMS, add, open, row};
use crate::http::kit::Server;

/// Collects the URLs of all requests of the scripts. The browser lists only those whose response is complete.
const REQUESTS: &str = "globalThis.requests = [];
    const send = globalThis.fetch;
    globalThis.fetch = (url, options) => { requests.push(url.url ?? url); return send(url, options); };";
const ASKING: &str = "!document.getElementById('access').hidden";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dashboard_asks_for_a_token_and_keeps_it_for_the_tab() {
    let registry = Arc::new(MemoryRegistry::new());
    add(&*registry, "cam1", StreamStatus::Active).await;
    let server = Server::start(registry, ServeOptions::default().token("w").read_token("r3ad")).await;
    for width in [DESK, PHONE] {
        let tab = Tab::open_observed(&format!("http://{}/", server.addr), width, REQUESTS);
        tab.until(ASKING);
        assert_eq!(tab.eval("document.querySelectorAll('#streams .body .row').length"), 0);
        tab.type_into("#token", "wrong");
        tab.press("Enter");
        tab.until("document.getElementById('token').value === ''");
        tab.until(ASKING);
        tab.type_into("#token", "r3ad");
        tab.press("Enter");
        tab.until(STREAMS);
        assert!(row(&tab, "cam1").starts_with("active|cam1|srt|"));
        assert_eq!(tab.eval("document.getElementById('access').hidden"), true);
        tab.eval("globalThis.isOld = true; location.reload()");
        tab.until(&format!("!globalThis.isOld && {STREAMS}"));
        // The token is in no URL, nowhere in the page, and in no storage that other tabs can read.
        let urls = tab
            .text("[location, ...requests, ...performance.getEntriesByType('resource').map((one) => one.name)].join()");
        assert!(["api/v1/streams", "api/v1/events", "app.js"].iter().all(|path| urls.contains(path)), "{urls}");
        let stored = tab.text("JSON.stringify(localStorage) + document.cookie");
        let page = tab.text("document.documentElement.outerHTML");
        for text in [urls, stored, page] {
            assert!(!text.contains("r3ad"), "{text}");
        }
        open(&server, width).until(ASKING);
        assert_eq!(tab.text("faults.join()"), "");
    }
}

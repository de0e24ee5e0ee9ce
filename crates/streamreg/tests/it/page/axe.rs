//! The accessibility of every view, checked with axe-core.

use std::sync::Arc;

use stream_registry::{MemoryRegistry, Registry as _, StreamStats, StreamStatus};
use streamreg::server::ServeOptions;

use super::browser::Tab;
use super::{DESK, EMPTY, OUTAGE, PHONE, SIGN, STREAMS, add, open};
use crate::http::kit::{Server, id};

const AXE: &str = "axe-core-4.14.1.js";

/// Returns the source of axe-core, which `scripts/setup` has downloaded.
fn axe() -> String {
    // The folder of this program is below the target folder.
    let program = std::env::current_exe().unwrap();
    let path = program.ancestors().map(|folder| folder.join(AXE)).find(|path| path.is_file());
    std::fs::read_to_string(path.unwrap_or_else(|| panic!("{AXE} is missing; run scripts/setup"))).unwrap()
}

/// Asserts that the page has no violation on a desktop and on a phone, in both colour schemes.
#[track_caller]
fn check(tab: &Tab, state: &str) {
    if tab.eval("typeof globalThis.axe") == "undefined" {
        tab.eval(&format!("{}; null", axe()));
    }
    for width in [DESK, PHONE] {
        tab.resize(width);
        for scheme in ["light", "dark"] {
            tab.prefer(scheme);
            tab.eval(
                "globalThis.found = null;
                 axe.run(document, { resultTypes: ['violations'] }).then(({ violations }) => {
                   found = violations.map(({ id, nodes }) =>
                     `${id}: ${nodes.slice(0, 3).map((node) => `${node.html} ${node.any.map((one) => one.message)}`)}`);
                 }, (error) => { found = [String(error)]; }); null",
            );
            tab.until("found !== null");
            assert_eq!(tab.text("found.join('\\n')"), "", "{state}, {scheme}, width {width}");
        }
    }
}

async fn fill(registry: &MemoryRegistry) {
    for status in ["connecting", "active", "paused", "error", "closed", "odd"] {
        add(registry, &format!("is {status}"), status.parse().unwrap()).await;
    }
    add(registry, "ended", StreamStatus::Active).await;
    registry.unregister(&id("ended")).await.unwrap();
    let stats = StreamStats { packets_received: Some(97), packets_lost: Some(3), ..StreamStats::default() };
    registry.update_stats(&id("is active"), &stats).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_view_is_accessible() {
    let registry = Arc::new(MemoryRegistry::new());
    fill(&registry).await;
    let mut server = Server::start(registry.clone(), ServeOptions::default()).await;
    let tab = open(&server, DESK);
    tab.until(&format!("{STREAMS} && {SIGN} === 'Live'"));
    add(&*registry, "new", StreamStatus::Active).await;
    for view in ["nodes", "events", "ended"] {
        tab.click(&format!("#views [data-view={view}]"));
        tab.until(&format!("document.querySelector('#{view} .body .row').checkVisibility()"));
        check(&tab, view);
    }
    tab.click("#ended .body .row");
    tab.until("document.getElementById('drawer-status').textContent === 'ended'");
    check(&tab, "ended run");
    tab.press("Escape");
    tab.click("#views [data-view=start]");
    check(&tab, "getting started");
    tab.click("#views [data-view=streams]");
    tab.click("#group");
    tab.eval("document.getElementById('streams').focus()");
    tab.press("ArrowDown");
    check(&tab, "groups");
    tab.press("?");
    tab.until("document.getElementById('help').open");
    check(&tab, "help");
    tab.press("Escape");
    // Another store knows nothing about the events of the outage.
    server.restart(Arc::new(MemoryRegistry::new()), async { tab.until(OUTAGE) }).await;
    tab.click("#views [data-view=events]");
    tab.until("document.querySelector('#events .gap')?.checkVisibility()");
    tab.click("#events-legend summary");
    check(&tab, "gap between events");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn details_and_messages_are_accessible() {
    let registry = Arc::new(MemoryRegistry::new());
    let options = ServeOptions::default().token("w").read_token("r");
    let mut server = Server::start(registry.clone(), options).await;
    let tab = open(&server, DESK);
    tab.until("document.getElementById('token').checkVisibility()");
    check(&tab, "access");
    tab.type_into("#token", "w");
    tab.press("Enter");
    tab.until(&format!("{EMPTY} && {SIGN} === 'Live'"));
    check(&tab, "empty");
    fill(&registry).await;
    tab.until(STREAMS);
    tab.click("#streams .body .row");
    tab.until("document.getElementById('actions').checkVisibility()");
    check(&tab, "details");
    tab.click("#end button");
    tab.until("document.getElementById('confirm').open");
    check(&tab, "confirmation");
    tab.press("Escape");
    server.begin_stop();
    server.stopped().await;
    tab.until(&format!("{OUTAGE} && document.getElementById('as-of').checkVisibility()"));
    check(&tab, "outage");
}

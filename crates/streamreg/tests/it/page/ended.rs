//! The details of one run of a stream that has ended.

use std::sync::Arc;

use stream_registry::{MemoryRegistry, Registry, UnregisterOptions};
use streamreg::server::ServeOptions;

use super::browser::Tab;
use super::{DESK, IDS, SIGN};
use crate::http::kit::{Server, id, stream};

const STATUS: &str = "document.getElementById('drawer-status').textContent";
const NOTE: &str = "document.getElementById('drawer-note').textContent";
const FIELDS: &str = "document.getElementById('fields').textContent";
const JSON: &str = "document.getElementById('json').textContent";

/// Runs a stream that has received this number of bytes, and ends it.
async fn run_once(registry: &dyn Registry, text: &str, bytes: u64, reason: &str) {
    let mut run = stream(text);
    (run.bytes_received, run.packets_received, run.packets_lost) = (bytes, 97, 3);
    registry.register(&run).await.unwrap();
    let options = UnregisterOptions::default().reason(reason.parse().unwrap());
    registry.unregister_with(&id(text), &options).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn click_on_an_ended_row_opens_that_run_and_not_the_live_stream() {
    let (server, registry) = Server::memory().await;
    run_once(&*registry, "cam1", i64::MAX as u64, "first").await;
    run_once(&*registry, "cam1", 2_222, "second").await;
    registry.register(&stream("cam1")).await.unwrap();
    let tab = Tab::open(&format!("http://{}/?view=ended", server.addr), DESK);
    tab.until(&format!("{SIGN} === 'Live' && document.querySelectorAll('#ended .body .row').length === 2"));
    tab.eval("document.getElementById('ended').focus(); null");
    tab.press("End");
    tab.press("Enter");
    tab.until(&format!("{STATUS} === 'ended' && {FIELDS}.includes('Reasonfirst')"));
    tab.until(&format!("{NOTE}.includes(' A stream with this id is live now. Show the live stream')"));
    assert!(tab.text(NOTE).starts_with("This run ended at "), "{}", tab.text(NOTE));
    let fields = tab.text(FIELDS);
    assert!(fields.contains("Lifetime0 s") && fields.contains("Average loss3.00 %"), "{fields}");
    tab.until(&format!("{FIELDS}.includes('9,223,372,036,854,775,807')"));
    assert!(tab.text(JSON).contains("\n  \"bytes_received\": 9223372036854775807,\n"), "{}", tab.text(JSON));
    assert_eq!(tab.eval("document.getElementById('actions').hidden"), true, "the live stream must not be changed");
    // The link shows the same run.
    let link = tab.text("location.href");
    assert!(link.contains("view=ended&stream=cam1&ended="), "{link}");
    tab.call("Page.reload", &serde_json::json!({}));
    tab.until(&format!("{STATUS} === 'ended' && {FIELDS}.includes('Reasonfirst')"));
    tab.until("document.getElementById('show-live').checkVisibility()");
    tab.click("#show-live");
    tab.until(&format!("{STATUS} === 'connecting' && location.search === '?view=ended&stream=cam1'"));
    tab.eval("const drawer = document.getElementById('drawer'); drawer.scrollTop = 300; null");
    assert_ne!(tab.eval("drawer.scrollTop"), 0);
    assert_eq!(tab.eval("document.getElementById('drawer-note').hidden"), true);
    tab.eval("history.back()");
    tab.until(&format!("{STATUS} === 'ended' && {FIELDS}.includes('Reasonfirst')"));
    assert_eq!(tab.eval("drawer.scrollTop"), 0, "the details of another run begin at their top");
    // Escape closes the details, and the focus returns to the table with its row.
    tab.press("Escape");
    tab.until("document.getElementById('drawer').hidden && location.search === '?view=ended'");
    assert_eq!(tab.text("document.activeElement.id"), "ended");
    assert_eq!(tab.text("faults.join()"), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn details_of_an_unknown_stream_say_what_to_do() {
    let (server, registry) = Server::memory().await;
    run_once(&*registry, "cam1", 1, "over").await;
    let tab = Tab::open(&format!("http://{}/?stream=cam2", server.addr), DESK);
    tab.until(&format!("{STATUS} === 'unknown' && {NOTE}.includes('Check the id, or use the search.')"));
    // A revision of another stream, or one that the server no longer has, shows nothing either.
    let tab = Tab::open(&format!("http://{}/?stream=cam1&ended=%3Cb%3E", server.addr), DESK);
    tab.until(&format!("{STATUS} === 'unknown' && {NOTE}.startsWith('This run is not in the history')"));
    assert_eq!(tab.eval("document.getElementById('charts').hidden"), true);
    // Without a revision, the details of a stream that is not live show its latest run.
    let tab = Tab::open(&format!("http://{}/?stream=cam1", server.addr), DESK);
    tab.until(&format!("{STATUS} === 'ended' && {NOTE}.includes(' No stream with this id is live now.')"));
    registry.register(&stream("cam1")).await.unwrap();
    tab.until(&format!("{STATUS} === 'connecting' && {IDS} === 'cam1'"));
    assert_eq!(tab.text("faults.join()"), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn escape_in_a_field_of_the_details_closes_them() {
    let registry = Arc::new(MemoryRegistry::new());
    registry.register(&stream("cam1")).await.unwrap();
    let server = Server::start(registry, ServeOptions::default()).await;
    let tab = Tab::open(&format!("http://{}/", server.addr), DESK);
    tab.until(&format!("{IDS} === 'cam1' && {SIGN} === 'Live'"));
    tab.eval("document.getElementById('streams').focus(); document.querySelector('#streams .body .row').click(); null");
    tab.until("document.getElementById('actions').checkVisibility()");
    tab.type_into("#end-reason", "a");
    tab.press("Escape");
    tab.until("document.getElementById('drawer').hidden");
    assert_eq!(tab.text("document.activeElement.id"), "streams");
    let row = "document.getElementById(document.activeElement.getAttribute('aria-activedescendant'))";
    assert_eq!(tab.text(&format!("{row}.querySelector('.id').textContent")), "cam1");
}

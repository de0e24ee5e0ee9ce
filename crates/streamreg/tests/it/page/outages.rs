//! What the dashboard shows while the server does not answer, and after that.

use std::sync::Arc;
use std::time::{Duration, Instant};

use stream_registry::{Error, ErrorKind, MemoryRegistry, OnConflict, RegisterOptions, Registry as _, StreamStatus};
use streamreg::server::ServeOptions;

use super::browser::Tab;
use super::{DESK, IDS, OUTAGE, PHONE, SIGN, STREAMS, add, open};
use crate::http::kit::{BlockingRegistry, Server, id, stream};

const GAP: &str = r"/^Not connected from [0-9:]+ to [0-9:]+; events of this time may be missing$/";
const GAPS: &str = "[...document.querySelectorAll('#events .gap .id')].filter((one) => one.checkVisibility())
    .map((one) => one.textContent)";
const LINES: &str = "[...document.querySelectorAll('#stream-events li')].map((one) => one.textContent)";
const AS_OF: &str = "document.getElementById('as-of')";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_may_be_missing_are_marked_and_resumed_ones_are_not() {
    let (mut server, registry) = Server::memory().await;
    add(&*registry, "cam1", StreamStatus::Active).await;
    let tab = Tab::open(&format!("http://{}/?view=events&stream=cam1", server.addr), DESK);
    tab.until(&format!("{SIGN} === 'Live'"));
    add(&*registry, "cam2", StreamStatus::Active).await;
    let rows = "[...document.querySelectorAll('#events .body .row:not([hidden])')]
        .sort((one, other) => one.ariaRowIndex - other.ariaRowIndex)
        .map((row) => row.querySelector('.id').textContent)";
    tab.until(&format!("{rows}.join() === 'cam2'"));
    // The same store has all events, so the page resumes without loss.
    let during = registry.clone();
    server
        .restart(registry.clone(), async {
            tab.until(OUTAGE);
            add(&*during, "cam3", StreamStatus::Active).await;
        })
        .await;
    tab.until(&format!("{rows}.join() === 'cam3,cam2' && !({OUTAGE})"));
    assert_eq!(tab.eval(&format!("{GAPS}.length")), 0);
    // Another store knows nothing about the events of the outage.
    let replacement = Arc::new(MemoryRegistry::new());
    add(&*replacement, "cam1", StreamStatus::Active).await;
    server.restart(replacement.clone(), async { tab.until(OUTAGE) }).await;
    tab.until(&format!("{GAPS}.length === 1 && {GAP}.test({GAPS}[0])"));
    tab.until(&format!("{LINES}.length === 1 && {GAP}.test({LINES}[0])"));
    replacement.update_status(&id("cam1"), StreamStatus::Error).await.unwrap();
    tab.until(&format!("{rows}[0] === 'cam1' && {GAP}.test({rows}[1]) && {rows}.slice(2).join() === 'cam3,cam2'"));
    tab.until(&format!(
        "{LINES}.length === 2 && {LINES}[0].endsWith(' status changed to error') && {GAP}.test({LINES}[1])"
    ));
    // A filter does not hide the line, and it opens nothing.
    tab.type_into("#search", "cam2");
    tab.until(&format!("{rows}.length === 2 && {GAP}.test({rows}[0])"));
    tab.press("Escape");
    tab.press("Escape");
    tab.until("document.getElementById('drawer').hidden");
    tab.click("#events .gap");
    assert_eq!(tab.eval("document.getElementById('drawer').hidden"), true);
    assert_eq!(tab.text("faults.join()"), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn message_disappears_soon_after_the_server_is_back() {
    let (mut server, registry) = Server::memory().await;
    add(&*registry, "cam1", StreamStatus::Active).await;
    // A pause of the feed above 2 s would last a minute. Its timers are the only ones that resolve a promise.
    let slow = "const wait = setTimeout;
        globalThis.setTimeout = (run, ms) => wait(run, ms > 2000 && /native code/.test(run) ? 60000 : ms);
        globalThis.failures = 0;
        const request = fetch;
        globalThis.fetch = (path, options) => request(path, options).catch((error) => {
          if (String(path).includes('/events')) failures += 1;
          throw error;
        });";
    let tab = Tab::open_observed(&format!("http://{}/", server.addr), DESK, slow);
    tab.until(&format!("{STREAMS} && {SIGN} === 'Live'"));
    // The feed has failed so often that it would pause for longer.
    server.restart(registry.clone(), async { tab.until(&format!("{OUTAGE} && failures >= 3")) }).await;
    let back = Instant::now();
    tab.until(&format!("!({OUTAGE}) && {SIGN} === 'Live'"));
    // The pause is at most 2 s. The rest is time for a busy machine.
    assert!(back.elapsed() < Duration::from_secs(6), "{:?}", back.elapsed());
    add(&*registry, "cam2", StreamStatus::Active).await;
    tab.until(&format!("{IDS} === 'cam1,cam2'"));
    assert_eq!(tab.text("faults.join()"), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn details_show_how_old_they_are_during_an_outage() {
    let (mut server, registry) = Server::memory().await;
    add(&*registry, "cam1", StreamStatus::Active).await;
    let tab = Tab::open(&format!("http://{}/?stream=cam1", server.addr), DESK);
    tab.until("document.getElementById('fields').textContent.includes('203.0.113.7:40112')");
    assert_eq!(tab.eval(&format!("{AS_OF}.hidden")), true);
    let beat = "[...document.querySelectorAll('#fields div')]
        .find((line) => line.firstChild.textContent === 'Last heartbeat').lastChild.textContent";
    server
        .restart(registry.clone(), async {
            tab.until(&format!("/^data as of [0-9:]+$/.test({AS_OF}.textContent) && {AS_OF}.checkVisibility()"));
            // Ages stop, because the page does not know what has happened since.
            let before = (tab.text(beat), tab.text(&format!("{AS_OF}.textContent")));
            tab.until("document.getElementById('lasting').textContent >= '(3 s)'");
            assert_eq!((tab.text(beat), tab.text(&format!("{AS_OF}.textContent"))), before);
        })
        .await;
    tab.until(&format!("{AS_OF}.hidden && !({OUTAGE})"));
    assert_eq!(tab.text("faults.join()"), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_opened_during_an_outage_show_what_the_page_knows() {
    let (mut server, registry) = Server::memory().await;
    for (text, node) in [("cam1", "n1"), ("cam2", "n2"), ("cam3", "n1"), ("old1", "n1"), ("old2", "n2")] {
        let mut stream = stream(text);
        (stream.node, stream.bitrate) = (Some(node.to_owned()), 2_000_000);
        registry.register(&stream).await.unwrap();
    }
    for text in ["old1", "old2"] {
        registry.unregister(&id(text)).await.unwrap();
    }
    let tab = Tab::open(&format!("http://{}/?view=ended", server.addr), PHONE);
    let note = |view: &str| format!("document.getElementById('{view}-note').textContent");
    tab.until(&format!("{SIGN} === 'Live' && {} === '2 ended streams, the latest first'", note("ended")));
    tab.click("#views [data-view=streams]");
    tab.until(&format!(
        "{IDS} === 'cam1,cam2,cam3' && document.getElementById('total-bitrate').textContent === '6.0 Mbit/s'"
    ));
    let rows = |view: &str| {
        format!(
            "[...document.querySelectorAll('#{view} .body .row:not([hidden])')].filter((row) => row.checkVisibility())
             .map((row) => [...row.querySelectorAll('.id, .streams, .bitrate')].map((cell) => cell.textContent).join())
             .sort().join('|')"
        )
    };
    server
        .restart(registry.clone(), async {
            tab.until(OUTAGE);
            tab.click("#streams .body .row");
            tab.until(&format!("/^data as of [0-9:]+$/.test({AS_OF}.textContent) && {AS_OF}.checkVisibility()"));
            let fields = tab.text("document.getElementById('fields').textContent");
            assert!(fields.contains("203.0.113.7:40112") && fields.contains("2,000,000 bit/s"), "{fields}");
            assert_ne!(tab.text("document.getElementById('drawer-status').textContent"), "unknown");
            tab.press("Escape");
            tab.click("#views [data-view=nodes]");
            tab.until(&format!("{} === '2 nodes'", note("nodes")));
            tab.until(&format!("{} === 'n1,2,4.0 Mbit/s|n2,1,2.0 Mbit/s'", rows("nodes")));
            // The ended streams of the earlier selection are filtered, because the history cannot be read.
            tab.eval(
                "history.replaceState(null, '', '?view=streams&node=n2'); dispatchEvent(new Event('popstate')); null",
            );
            tab.click("#views [data-view=ended]");
            tab.until(&format!("{}.startsWith('Cannot read the history: ')", note("ended")));
            tab.until(&format!("{} === 'old2'", rows("ended")));
        })
        .await;
    tab.until(&format!("!({OUTAGE}) && {} === '1 ended stream matches, the latest first'", note("ended")));
    // The legend of the total chart never makes a phone scroll sideways.
    tab.click("#views [data-view=streams]");
    let width = "(() => {
        const legend = document.getElementById('total-recorded');
        legend.hidden = false;
        legend.lastElementChild.textContent = 'Recorded since 14:08:10, with gaps, '.repeat(3);
        return document.documentElement.scrollWidth;
    })()";
    assert!(tab.eval(width).as_u64().unwrap() <= u64::from(PHONE));
    assert_eq!(tab.text("faults.join()"), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn page_that_has_never_reached_the_store_says_so_everywhere() {
    let registry = BlockingRegistry::failing(Error::new(ErrorKind::Unavailable, "the store is on holiday"));
    let server = Server::start(registry.clone(), ServeOptions::default()).await;
    let tab = Tab::open(&format!("http://{}/?view=nodes&stream=cam1", server.addr), DESK);
    tab.until("document.getElementById('nodes-note').textContent.startsWith('The nodes cannot be counted, ')");
    tab.until("document.getElementById('drawer-note').textContent.startsWith('The stream cannot be read, ')");
    registry.recover();
    add(&*registry, "cam1", StreamStatus::Active).await;
    tab.until("document.getElementById('nodes-note').textContent === '1 node'");
    tab.until("document.getElementById('drawer-status').textContent === 'active'");
    assert_eq!(tab.eval("document.getElementById('drawer-note').hidden"), true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn event_of_a_take_over_explains_itself() {
    let (server, registry) = Server::memory().await;
    add(&*registry, "cam1", StreamStatus::Active).await;
    let tab = open(&server, DESK);
    tab.click("#views [data-view=events]");
    tab.until(&format!("{SIGN} === 'Live'"));
    let mut other = stream("cam1");
    other.source_addr = "203.0.113.8:1".to_owned();
    registry.register_with(&other, &RegisterOptions::default().on_conflict(OnConflict::TakeOver)).await.unwrap();
    let cell = "document.querySelector('#events .body .row:not([hidden]) .event')";
    tab.until(&format!("{cell}.title === 'taken over: Another publisher or node now sends the stream'"));
    assert_eq!(tab.text(&format!("{cell}.textContent")), "taken over");
    tab.click("#events-legend summary");
    let legend = tab.text("document.getElementById('events-meanings').innerText");
    assert!(legend.contains("taken over: Another publisher or node now sends the stream."), "{legend}");
}

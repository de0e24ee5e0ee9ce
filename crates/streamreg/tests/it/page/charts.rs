//! What the charts show, and how they mark times that the page has not recorded.

use std::sync::Arc;

use stream_registry::{MemoryRegistry, Registry, StreamStats, StreamStatus};
use streamreg::server::ServeOptions;

use super::browser::Tab;
use super::{DESK, IDS, SIGN, STREAMS, add, open};
use crate::http::kit::{Server, id, stream};

/// The note and the axis of the details, and those of the total chart.
const NOTE: &str = "document.getElementById('charts-recorded').lastElementChild.textContent";
const TOTAL_NOTE: &str = "document.getElementById('total-recorded').lastElementChild.textContent";
const TOTAL_OF: &str = "document.getElementById('total-of').textContent";
const RUN_NOTE: &str = "document.getElementById('drawer-note').textContent";
const CHART: &str = "document.getElementById('chart-bitrate-text').textContent";

async fn add_with_bitrate(registry: &dyn Registry, text: &str, bits: u64) {
    let mut stream = stream(text);
    (stream.status, stream.bitrate) = (StreamStatus::Active, bits);
    registry.register(&stream).await.unwrap();
}

/// Draws the last 150 moments of a ring on a canvas that is 302 pixels wide, so that each moment has two pixels.
/// `values` is an expression for the value of moment `at`; an undefined value is not recorded. Returns the note of the
/// chart, and which of three moments have pixels at half of the height.
fn drawn(tab: &Tab, values: &str) -> String {
    tab.eval(&format!(
        "globalThis.drawn = null;
         Promise.all(['parts/chart.js', 'data/rings.js'].map((path) => import(`/assets/${{path}}`))).then(
           ([{{ draw }}, {{ Ring, STEP_MS }}]) => {{
             const [ring, canvas] = [new Ring(), document.createElement('canvas')];
             Object.assign(canvas.style, {{ width: '302px', height: '40px' }});
             document.body.append(canvas);
             const value = (at) => {values};
             const start = Date.UTC(2026, 0, 1);
             for (let at = -6; at < 150; at += 1) {{
               if (value(at) !== undefined) ring.push(value(at), start + at * STEP_MS);
             }}
             const {{ note }} = draw(canvas, ring, {{ fill: true, now: start + 149 * STEP_MS }});
             const pixels = (at) => canvas.getContext('2d').getImageData(2 * at, 15, 12, 1).data;
             const marked = [20, 70, 120].filter((at) => pixels(at).some((byte) => byte > 0));
             drawn = `${{note.replace(/ \\d\\d:/, ' HH:')}} ${{marked}}`;
             canvas.remove();
           }}, (error) => {{ drawn = String(error); }}); null"
    ));
    tab.until("drawn !== null");
    tab.text("drawn")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn times_that_were_not_recorded_are_hatched_and_zero_is_not() {
    let (server, _registry) = Server::memory().await;
    let tab = open(&server, DESK);
    // A bit rate of 0 is a line at the bottom.
    assert_eq!(drawn(&tab, "0"), " ");
    // So is a figure without a value, but without the line.
    assert_eq!(drawn(&tab, "NaN"), " ");
    assert_eq!(drawn(&tab, "at < 40 ? undefined : 0"), "Recorded by this page since HH:01:20 20");
    assert_eq!(drawn(&tab, "at > 60 && at < 85 ? undefined : 0"), "Recorded by this page, with gaps 70");
    assert_eq!(
        drawn(&tab, "at < 30 || at > 100 ? undefined : 0"),
        "Recorded by this page since HH:01:00, with gaps 20,120"
    );
    assert_eq!(drawn(&tab, "undefined"), "Nothing recorded by this page 20,70,120");
    // A late poll also stands for the few moments that it has missed.
    assert_eq!(drawn(&tab, "at % 3 > 0 ? undefined : 0"), " ");
    assert_eq!(tab.text("faults.join()"), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn details_say_since_when_the_charts_were_recorded() {
    let (server, registry) = Server::memory().await;
    add_with_bitrate(&*registry, "cam1", 3_000_000).await;
    let tab = Tab::open(&format!("http://{}/?stream=cam1", server.addr), DESK);
    tab.until(&format!("{STREAMS} && {SIGN} === 'Live'"));
    tab.until(&format!("/^Recorded by this page since [0-9:]+$/.test({NOTE})"));
    assert_eq!(tab.eval("document.getElementById('charts-recorded').checkVisibility()"), true);
    assert_eq!(tab.text("document.querySelector('#charts .axis').innerText.split(/\\s*\\n/).join()"), "−5 min,now");
    let label = "document.getElementById('chart-bitrate').ariaLabel";
    tab.until(&format!(
        "/^Bitrate from -5 min to now: 3.0 Mbit.s .*\\. Recorded by this page since [0-9:]+$/.test({label})"
    ));
    // The machine was suspended for a minute: nothing was recorded during that time.
    tab.eval("const now = Date.now; Date.now = () => now() + 60000; null");
    tab.until(&format!("{NOTE}.endsWith(', with gaps') && {label}.endsWith(', with gaps')"));
    assert_eq!(tab.text("faults.join()"), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stream_that_was_never_on_the_screen_has_charts_in_a_small_registry() {
    let (server, registry) = Server::memory().await;
    for number in 100..250 {
        add_with_bitrate(&*registry, &format!("cam{number}"), 3_000_000).await;
    }
    let tab = open(&server, DESK);
    // When the second response has arrived, the page has recorded the first one.
    let polls = "performance.getEntriesByType('resource').filter(({ name }) => name.includes('id=cam249'))";
    tab.until(&format!("{polls}.length >= 2"));
    // The details read a record of their own, which follows after a gap.
    tab.eval("const now = Date.now; Date.now = () => now() + 60000; null");
    tab.eval("history.pushState(null, '', '?stream=cam249'); dispatchEvent(new PopStateEvent('popstate')); null");
    tab.until(&format!("/^Recorded by this page since [0-9:]+, with gaps$/.test({NOTE})"));
    assert_eq!(tab.text("faults.join()"), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn charts_of_a_new_run_contain_no_value_of_the_earlier_run() {
    let (server, registry) = Server::memory().await;
    add_with_bitrate(&*registry, "cam1", 9_000_000).await;
    let tab = Tab::open(&format!("http://{}/?stream=cam1", server.addr), DESK);
    tab.until(&format!("{CHART} === '9.0 Mbit/s (9.0 Mbit/s to 9.0 Mbit/s)'"));
    registry.unregister(&id("cam1")).await.unwrap();
    tab.until("document.getElementById('drawer-status').textContent === 'ended'");
    tab.until("/^end, [0-9:]+$/.test(document.querySelector('#charts .until').textContent)");
    assert_eq!(tab.text(CHART), "9.0 Mbit/s (9.0 Mbit/s to 9.0 Mbit/s)");
    add_with_bitrate(&*registry, "cam1", 1_000_000).await;
    // The details stay at the run that has ended, until the user asks for the new one.
    tab.until("document.getElementById('show-live').checkVisibility()");
    let note = tab.text(RUN_NOTE);
    assert!(note.contains(" A stream with this id is live now."), "{note}");
    assert_eq!(tab.text(CHART), "9.0 Mbit/s (9.0 Mbit/s to 9.0 Mbit/s)");
    assert!(tab.text("location.search").starts_with("?stream=cam1&ended="), "{}", tab.text("location.search"));
    tab.click("#show-live");
    tab.until(&format!("{CHART} === '1.0 Mbit/s (1.0 Mbit/s to 1.0 Mbit/s)'"));
    // The run that has ended keeps its own values.
    tab.click("#views [data-view=ended]");
    tab.until("document.querySelector('#ended .body .row')?.checkVisibility()");
    tab.click("#ended .body .row");
    tab.until(&format!("{CHART} === '9.0 Mbit/s (9.0 Mbit/s to 9.0 Mbit/s)'"));
    assert_eq!(tab.text("faults.join()"), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn total_chart_keeps_the_record_of_each_selection() {
    let registry = Arc::new(MemoryRegistry::new());
    add_with_bitrate(&*registry, "cam1", 5_000_000).await;
    add(&*registry, "cam2", StreamStatus::Error).await;
    let stats = StreamStats { bitrate: Some(2_000_000), ..StreamStats::default() };
    registry.update_stats(&id("cam2"), &stats).await.unwrap();
    let server = Server::start(registry.clone(), ServeOptions::default()).await;
    let tab = open(&server, DESK);
    tab.until(&format!("{TOTAL_OF} === 'all live streams' && {TOTAL_NOTE}.startsWith('Recorded since ')"));
    let since = tab.text(TOTAL_NOTE);
    // Another selection has a record of its own, which begins later.
    tab.eval("const now = Date.now; Date.now = () => now() + 10000; null");
    tab.type_into("#search", "cam2");
    tab.until(&format!("{IDS} === 'cam2' && {TOTAL_OF} === '“cam2”'"));
    tab.until(&format!("{TOTAL_NOTE}.startsWith('Recorded since ') && {TOTAL_NOTE} !== '{since}'"));
    let label = "document.getElementById('total-chart').ariaLabel";
    tab.until(&format!(
        "{label}.startsWith('Total bit rate of “cam2”, from -5 min to now: 2.0 Mbit/s to 2.0 Mbit/s. Recorded by ')"
    ));
    tab.click("#clear");
    tab.until(&format!("{TOTAL_OF} === 'all live streams' && {TOTAL_NOTE}.startsWith('{since}')"));
    // The statuses are counted together, so each of them has the same record.
    tab.click("#chips .error");
    tab.until(&format!("{TOTAL_OF} === 'status error' && {TOTAL_NOTE}.startsWith('{since}')"));
    tab.until(&format!("{label}.includes(': 2.0 Mbit/s to 2.0 Mbit/s.')"));
    assert_eq!(tab.text("faults.join()"), "");
}

//! The layout of the dashboard: column widths, alignment, and the first screen of a phone.

use std::sync::Arc;

use stream_registry::{MemoryRegistry, Registry, StreamStats, StreamStatus, UnregisterOptions};
use streamreg::server::ServeOptions;

use super::browser::Tab;
use super::{DESK, PHONE, ROWS, SIGN, STREAMS};
use crate::http::kit::{Server, stream};

/// Common sizes of the window, apart from `DESK`.
const LAPTOP: u32 = 1440;
const PHONE_HEIGHT: f64 = 844.0;

/// Registers streams with ordinary values: source, type, status, bit rate, lost packets of 100 000, RTT and jitter.
async fn fill(registry: &dyn Registry) {
    let values = [
        ("203.0.113.77:41234", "srt", StreamStatus::Connecting, 0, 1, Some(38.4), None),
        ("198.51.100.112:41990", "webrtc", StreamStatus::Active, 252_700, 123, None, Some(0.07)),
        ("[2001:db8::21]:37264", "rtmp", StreamStatus::Paused, 999_900_000, 12_340, Some(1_234.0), None),
    ];
    for (at, (source, kind, status, bitrate, lost, rtt, jitter)) in values.into_iter().enumerate() {
        let mut stream = stream(&format!("demo-bridge-cam-12-{at}"));
        (stream.source_addr, stream.kind, stream.status) = (source.to_owned(), kind.parse().unwrap(), status);
        stream.node = Some(format!("ingest-fra-{at}"));
        (stream.video_codec, stream.resolution) = ("HEVC".to_owned(), "3840x2160".to_owned());
        registry.register(&stream).await.unwrap();
        let stats = StreamStats {
            bitrate: Some(bitrate),
            packets_received: Some(100_000 - lost),
            packets_lost: Some(lost),
            rtt_ms: rtt,
            jitter_ms: jitter,
            ..StreamStats::default()
        };
        registry.update_stats(&stream.id, &stats).await.unwrap();
    }
}

async fn open_filled(query: &str) -> (Server, Tab) {
    let registry = Arc::new(MemoryRegistry::new());
    fill(&*registry).await;
    let mut gone = stream("demo-bridge-cam-12-9");
    gone.node = Some("ingest-fra-1".to_owned());
    registry.register(&gone).await.unwrap();
    let options = UnregisterOptions::default().reason("publisher disconnected".parse().unwrap());
    registry.unregister_with(&gone.id, &options).await.unwrap();
    let server = Server::start(registry, ServeOptions::default()).await;
    let tab = Tab::open(&format!("http://{}/{query}", server.addr), DESK);
    tab.until(&format!("{SIGN} === 'Live'"));
    (server, tab)
}

/// Returns an expression for the texts of a table that their cells cut. Ages and heartbeats get long ordinary values.
fn cut(table: &str) -> String {
    format!(
        "(() => {{
           const rows = [...document.querySelectorAll('#{table} .body .row:not([hidden])')];
           for (const row of rows) {{
             for (const [name, value] of [['age', '23 h 59 min'], ['heartbeat', '4 min 59 s']]) {{
               const text = row.querySelector(`.${{name}} > span`);
               if (text) text.textContent = value;
             }}
           }}
           const shown = rows.flatMap((row) => [...row.querySelectorAll('.cell, .cell > span')]);
           return shown.filter((e) => e.scrollWidth > e.clientWidth && getComputedStyle(e).display !== 'inline')
             .map((e) => e.textContent).join();
         }})()"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ordinary_values_are_not_cut_in_ordinary_windows() {
    let (_server, tab) = open_filled("").await;
    tab.until(STREAMS);
    for width in [DESK, LAPTOP] {
        tab.resize(width);
        for (view, rows) in [("streams", 3), ("ended", 1)] {
            tab.click(&format!("#views [data-view={view}]"));
            tab.until(&format!("document.querySelectorAll('#{view} .body .row:not([hidden])').length === {rows}"));
            assert_eq!(tab.text(&cut(view)), "", "{view}, width {width}");
            let wide = "document.documentElement.scrollWidth <= innerWidth";
            assert_eq!(tab.eval(wide), true, "{view}, width {width}");
        }
    }
    // What is short in the table is complete in the tooltip.
    tab.click("#views [data-view=streams]");
    let video = "document.querySelector('#streams .body .row:not([hidden]) .video')";
    tab.until(&format!("{video}.textContent === 'HEVC 2160p' && {video}.title === 'HEVC 3840x2160'"));
    assert_eq!(tab.text("document.querySelector('#streams .body .row .node').title"), "ingest-fra-0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_explain_jitter_and_loss() {
    let (_server, tab) = open_filled("").await;
    tab.until(STREAMS);
    let header = |table: &str, name: &str| {
        let cell = format!("document.querySelector('#{table} .head .{name}')");
        [tab.text(&format!("{cell}.textContent")), tab.text(&format!("{cell}.title"))]
    };
    let [name, hint] = header("streams", "delay");
    assert!(name == "RTT, ±jitter" && hint.contains("± are the jitter"), "{name}: {hint}");
    for table in ["streams", "nodes", "ended"] {
        let [_, hint] = header(table, "loss");
        assert!(hint.contains("lost since"), "{table}: {hint}");
    }
    let [_, hint] = header("ended", "reason");
    assert!(hint.contains("expired: the time to live"), "{hint}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_and_numbers_are_aligned_whatever_the_bit_rate_is() {
    let (_server, tab) = open_filled("").await;
    tab.until(STREAMS);
    // The numbers end where the units begin.
    for part in ["spark", "unit"] {
        let edges = tab
            .eval(&format!("{ROWS}.map((row) => row.querySelector('.bitrate .{part}').getBoundingClientRect().left)"));
        let edges = edges.as_array().unwrap();
        assert!(edges.len() == 3 && edges.iter().all(|edge| edge == &edges[0]), "{part}: {edges:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn search_keeps_its_place_and_each_view_counts_what_it_shows() {
    let (_server, tab) = open_filled("").await;
    tab.until(STREAMS);
    for width in [DESK, PHONE] {
        tab.resize(width);
        let mut places = Vec::new();
        for (view, note) in
            [("ended", "1 ended stream,"), ("streams", "3 live streams"), ("nodes", "3 nodes"), ("events", "")]
        {
            tab.click(&format!("#views [data-view={view}]"));
            tab.until(&format!("document.getElementById('state').innerText.startsWith('{note}')"));
            places.push(tab.eval("JSON.stringify(document.getElementById('search').getBoundingClientRect())"));
            assert_eq!(tab.eval("document.getElementById('search').checkVisibility()"), true, "{view}");
        }
        places.dedup();
        assert_eq!(places.len(), 1, "width {width}: {places:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn phone_shows_streams_on_its_first_screen_and_each_group_in_one_line() {
    let (_server, tab) = open_filled("?group=node").await;
    tab.resize(PHONE);
    // The rows get their heights at once, and their places with the next frame.
    tab.until(&format!("{ROWS}[1].getBoundingClientRect().height > 100"));
    tab.until(&format!("{ROWS}[1].getBoundingClientRect().bottom < {ROWS}[2].getBoundingClientRect().top"));
    let boxes = tab
        .eval(&format!("{ROWS}.map((row) => row.getBoundingClientRect()).map(({{ top, bottom }}) => [top, bottom])"));
    let boxes: Vec<(f64, f64)> = serde_json::from_value(boxes).unwrap();
    for pair in boxes.windows(2) {
        assert!(pair[0].1 <= pair[1].0 && pair[1].0 - pair[0].1 < 16.0, "rows overlap or have a gap: {boxes:?}");
    }
    for heading in [0, 2, 4] {
        assert!(boxes[heading].1 - boxes[heading].0 <= 44.0, "{boxes:?}");
    }
    assert!(boxes[3].1 <= PHONE_HEIGHT, "two streams are not on the first screen: {boxes:?}");
    let heading = format!("{ROWS}[0].innerText.replace(/\\s+/g, ' ')");
    assert_eq!(tab.text(&heading), "▾ ingest-fra-0 (1) 0 bit/s");
    // Other cells would show the names of empty values.
    let cells = format!("[...{ROWS}[0].children].filter((cell) => cell.checkVisibility()).length");
    assert_eq!(tab.eval(&cells), 3);
    // A folded group moves the others up.
    tab.eval(&format!("{ROWS}[0].click()"));
    tab.until(&format!("{ROWS}.length === 5 && {ROWS}[1].getBoundingClientRect().top < {}", boxes[1].0 + 1.0));
    let end = tab.eval(&format!("{ROWS}[4].getBoundingClientRect().bottom")).as_f64().unwrap();
    let body = tab.eval("document.querySelector('#streams .body').getBoundingClientRect().bottom").as_f64().unwrap();
    assert!((0.0..16.0).contains(&(body - end)), "the last row ends at {end}, the table at {body}");
    assert_eq!(tab.text("faults.join()"), "");
}

/// An expression for the headers whose arrow overlaps the next header. The header that sorts has the arrow.
const OVERLAP: &str = "(() => {
  const headers = [...document.querySelectorAll('#streams .head .cell')].filter((cell) => cell.checkVisibility());
  const at = headers.findIndex((cell) => cell.ariaSort);
  const button = headers[at].querySelector('button');
  const arrow = getComputedStyle(button, '::after');
  const end = button.getBoundingClientRect().left + parseFloat(arrow.left) + parseFloat(arrow.width);
  const text = document.createRange();
  text.selectNodeContents((headers[at + 1] ?? headers[at]).querySelector('button'));
  const limit = headers[at + 1] ? text.getBoundingClientRect().left : innerWidth;
  return end > limit ? `${button.textContent}: ${end} > ${limit}` : '';
})()";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_and_badges_have_enough_room() {
    let (server, tab) = open_filled("?view=events").await;
    let client = server.client().await;
    client.update_status(&"demo-bridge-cam-12-1".parse().unwrap(), StreamStatus::Error).await.unwrap();
    let badge = "document.querySelector('#events .body .row:not([hidden]) .badge')";
    for width in [DESK, PHONE] {
        tab.resize(width);
        tab.until(&format!("{badge}?.textContent === 'status changed' && {badge}.checkVisibility()"));
        assert_eq!(tab.eval(&format!("{badge}.scrollWidth <= {badge}.clientWidth")), true, "width {width}");
    }
    tab.click("#views [data-view=streams]");
    tab.until(STREAMS);
    for width in [DESK, 1_000] {
        tab.resize(width);
        let sorts = tab.text(
            "[...document.querySelectorAll('#streams .head button')]
            .filter((button) => button.checkVisibility()).map((button) => button.dataset.sort).join()",
        );
        assert!(sorts.split(',').count() >= 7, "{sorts}");
        for sort in sorts.split(',') {
            tab.click(&format!("#streams .head [data-sort={sort}]"));
            assert_eq!(tab.text(OVERLAP), "", "width {width}");
        }
    }
    assert_eq!(tab.text("faults.join()"), "");
}

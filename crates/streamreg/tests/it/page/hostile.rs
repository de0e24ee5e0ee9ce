//! Records with markup, characters that change the text direction, and very long or very large values.

use serde_json::json;
use stream_registry::{Registry, StreamStatus, UnregisterOptions};

use super::browser::Tab;
use super::{DESK, EMPTY, IDS, OUTAGE, PHONE, SIGN, STREAMS, add, open, row};
use crate::http::kit::{Server, id, stream};

/// An id with markup, an override of the text direction, and the greatest length.
fn worst_id() -> String {
    let start = "<img src=x onerror=\"globalThis.pwned=1\">\u{202e}'&#x3c;${globalThis.pwned=1}";
    format!("{start}{}", "x".repeat(256 - start.len()))
}

/// Registers streams with malicious markup or very long values.
async fn add_hostile(registry: &dyn Registry) {
    let ids = [
        "<img src=x onerror=\"globalThis.pwned=1\">",
        "<script>globalThis.pwned=1</script>",
        "\"><svg onload=globalThis.pwned=1>",
        "__proto__",
        "مرحبا",
        "📺 東京",
        &"x".repeat(256),
    ];
    for id in ids {
        let mut stream = stream(id);
        stream.source_addr = "<b>".to_owned() + &"w".repeat(1000);
        stream.node = Some("<i>".to_owned() + &"n".repeat(1000));
        (stream.video_codec, stream.resolution) = ("<u>".repeat(300), "9".repeat(1000));
        stream.status = format!("<s>{}", "s".repeat(28)).parse().unwrap();
        stream.kind = "t".repeat(32).parse().unwrap();
        (stream.bitrate, stream.packets_received) = (i64::MAX as u64, i64::MAX as u64);
        registry.register(&stream).await.unwrap();
    }
}

/// Registers a stream whose every field is hostile, over HTTP, as a publisher does.
async fn add_worst(server: &Server) {
    let long = |start: &str| format!("{start}\u{202e}\u{0}\u{7}\u{2028}{}", "w".repeat(1_000 - start.len()));
    let labels: serde_json::Map<String, serde_json::Value> = (0..60)
        .map(|n| (format!("<b>{n}</b>\u{202e}"), json!(format!("<i>{}", "v".repeat(250)))))
        .chain([("__proto__".to_owned(), json!("<svg onload=globalThis.pwned=1>"))])
        .collect();
    let largest = i64::MAX;
    let record = json!({
        "id": worst_id(), "type": "t".repeat(32), "status": format!("<s>{}", "s".repeat(28)),
        "source_addr": long("<b>"), "node": long("<i>"), "video_codec": long("<u>"), "audio_codec": long("<u>"),
        "resolution": long("<img src=x onerror=globalThis.pwned=1>"), "labels": labels,
        "bitrate": largest, "bytes_received": largest, "packets_received": largest, "packets_lost": largest,
        "packets_retransmitted": largest, "packets_dropped": largest, "viewers": largest,
        "frame_rate": 1.7e308, "rtt_ms": 1.7e308, "jitter_ms": 5e-324,
        "<script>globalThis.pwned=1</script>": { "__proto__": ["<svg onload=globalThis.pwned=1>", 1.7e308] },
        "constructor": "x".repeat(2_000), "toString": null,
    });
    let answer = server.json("POST", "/api/v1/streams", &record.to_string()).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
}

/// Asserts that no string has become an element or has run.
#[track_caller]
fn has_no_markup(tab: &Tab) {
    assert_eq!(tab.eval("document.querySelectorAll('body :is(img, svg, script, i, s, u)').length"), 0);
    assert_eq!(tab.eval("typeof globalThis.pwned"), "undefined");
    assert_eq!(tab.text("faults.join()"), "");
}

/// Asserts that nothing is wider than the screen, unless it can be scrolled, and that all rows have the same height.
#[track_caller]
fn fits(tab: &Tab, state: &str) {
    let [width, screen] = ["document.documentElement.scrollWidth", "innerWidth"].map(|one| tab.eval(one).as_u64());
    assert!(width <= screen, "{state}: {width:?} > {screen:?}");
    let heights =
        "new Set([...document.querySelectorAll('.body .row:not(.heading)')].filter((row) => row.checkVisibility())
        .map((row) => row.getBoundingClientRect().height)).size";
    assert!(tab.eval(heights).as_u64() <= Some(1), "{state}");
    let outside = "[...document.querySelectorAll('.body .row > *')].filter((cell) => {
        const [inner, outer] = [cell, cell.parentElement].map((one) => one.getBoundingClientRect());
        return cell.checkVisibility() && (inner.right > outer.right || inner.bottom > outer.bottom);
      }).map((cell) => cell.className).join()";
    assert_eq!(tab.text(outside), "", "{state}");
    let wider = "[...document.querySelectorAll('#drawer *, .head *')].filter((one) => one.checkVisibility()
        && getComputedStyle(one.closest('.row') ?? one).overflowX !== 'auto'
        && one.getBoundingClientRect().right > innerWidth + 1).map((one) => one.id || one.className).join()";
    assert_eq!(tab.text(wider), "", "{state}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malicious_record_is_displayed_as_plain_text_and_runs_no_script() {
    let (server, registry) = Server::memory().await;
    add_hostile(&*registry).await;
    registry.register(&stream("\u{202e}gpj.exe")).await.unwrap();
    let tab = open(&server, DESK);
    tab.until(STREAMS);
    assert!(row(&tab, "<img src=x onerror=\"globalThis.pwned=1\">").starts_with("<s>sss"));
    assert!(row(&tab, "<script>globalThis.pwned=1</script>").contains("|<b>www"));
    assert!(row(&tab, "__proto__").contains("|<i>nnn"));
    // Characters that change the text direction are shown as escapes.
    assert!(row(&tab, "\\u{202e}gpj.exe").contains("|srt|"));
    // The only script is the page's own, and no string of a record has become an element.
    assert_eq!(tab.eval("document.scripts.length"), 1);
    has_no_markup(&tab);
    // No string of a link has become an element either. Anyone can write a link.
    let tab = Tab::open(&format!("http://{}/?search=%3Cimg%20src=x&status=%3Cs%3E&sort=%3Ci%3E", server.addr), DESK);
    tab.until("!document.getElementById('none').hidden");
    tab.eval("document.getElementById('chips').lastElementChild.click()");
    tab.eval("document.getElementById('clear').click()");
    tab.until(STREAMS);
    tab.eval("document.getElementById('chips').lastElementChild.click()");
    tab.until("document.title.includes('have status <s>ssss')");
    has_no_markup(&tab);
    // Even a mistake in the page could not turn a string into markup, because the browser refuses it.
    let markup = "try { document.body.innerHTML = '<b>'; 'done'; } catch (error) { error.name; }";
    assert_eq!(tab.text(markup), "TypeError");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dashboard_fits_a_phone_without_horizontal_scrolling() {
    let (mut server, registry) = Server::memory().await;
    let tab = open(&server, PHONE);
    let fits = |state: &str| {
        let widths = tab.eval("[document.documentElement.scrollWidth, innerWidth]");
        assert_eq!(widths[1], PHONE, "{state}");
        assert!(widths[0].as_u64() <= widths[1].as_u64(), "{state}: {widths}");
    };
    tab.until(EMPTY);
    fits("empty");
    add_hostile(&*registry).await;
    add(&*registry, "cam1", StreamStatus::Active).await;
    tab.until(STREAMS);
    fits("streams");
    server.begin_stop();
    server.stopped().await;
    tab.until(OUTAGE);
    fits("outage");
    assert_eq!(tab.text("faults.join()"), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_values_break_no_view() {
    let (server, registry) = Server::memory().await;
    let tab = open(&server, DESK);
    tab.until(&format!("{EMPTY} && {SIGN} === 'Live'"));
    add_worst(&server).await;
    add(&*registry, "cam1", StreamStatus::Active).await;
    // The worst stream also ends once, with a hostile reason.
    let worst = id(&worst_id());
    let reason = format!("<b>\u{202e}{}", "r".repeat(1_000)).parse().unwrap();
    registry.unregister_with(&worst, &UnregisterOptions::default().reason(reason)).await.unwrap();
    add_worst(&server).await;
    tab.until(&format!("{IDS}.split(',').length === 2"));
    for width in [DESK, PHONE] {
        tab.resize(width);
        for view in ["streams", "nodes", "events", "ended"] {
            tab.click(&format!("#views [data-view={view}]"));
            tab.until(&format!("document.querySelector('#{view} .body .row')?.checkVisibility()"));
            fits(&tab, &format!("{view}, width {width}"));
            has_no_markup(&tab);
        }
        tab.click("#ended .body .row");
        tab.until("document.getElementById('drawer-status').textContent === 'ended'");
        fits(&tab, &format!("ended run, width {width}"));
        has_no_markup(&tab);
        tab.click("#views [data-view=streams]");
        tab.click("#group");
        tab.until(&format!("{IDS}.split(',').length === 4"));
        fits(&tab, "groups");
        tab.click("#group");
        tab.until(&format!("{IDS}.split(',').length === 2"));
        tab.eval("document.querySelector('#streams .body .row:has(.badge.other)').click()");
        tab.until("document.querySelectorAll('#labels button').length === 61");
        tab.until("document.querySelectorAll('#stream-events li').length >= 2");
        fits(&tab, &format!("details, width {width}"));
        let details = tab.text("document.getElementById('fields').textContent");
        assert!(details.contains("9,223,372,036,854,775,807"), "{details}");
        assert!(details.contains("toString"), "{details}");
        tab.click("#end button");
        tab.until("document.getElementById('confirm').open");
        fits(&tab, "confirmation");
        tab.press("Escape");
        tab.click("#labels button:last-child");
        tab.until(&format!("{IDS}.split(',').length === 1 && document.getElementById('label').checkVisibility()"));
        fits(&tab, "label");
        tab.click("#clear");
        has_no_markup(&tab);
    }
}

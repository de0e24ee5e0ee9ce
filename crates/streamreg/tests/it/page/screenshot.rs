//! The screenshots of the dashboard in README.md and docs/dashboard.md. They show the simulated streams of
//! `streamreg demo --streams 120`.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use stream_registry::MemoryRegistry;
use streamreg::server::ServeOptions;

use super::browser::Tab;
use super::{DESK, PHONE, ROWS, SIGN, STREAMS};
use crate::cli::Running;
use crate::http::kit::Server;

const MAX_BYTES: u64 = 110_000;
const HEIGHT: u32 = 905;
/// Lets time pass faster in the page, so that its charts show more than a few seconds.
const FAST: &str = "
    const [wait, now, began] = [setTimeout, Date.now, Date.now()];
    globalThis.setTimeout = (run, ms) => wait(run, ms / 5);
    Date.now = () => began + 5 * (now() - began);";
/// Whether the page has polled for long enough.
const POLLED: &str = "performance.getEntriesByType('resource').filter(({ name }) => /summary/.test(name)).length > 25";

/// Saves a screenshot to `target/NAME.webp`. If the dashboard has changed, copy the screenshots to `docs`.
fn save(tab: &Tab, name: &str, width: u32) {
    let clip = json!({ "x": 0, "y": 0, "width": width, "height": HEIGHT, "scale": 1 });
    let shown = tab.call("Page.captureScreenshot", &json!({ "format": "webp", "quality": 60, "clip": clip }));
    let image = from_base64(&shown["data"]);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::fs::write(root.join(format!("target/{name}.webp")), &image).unwrap();
    assert!(image.starts_with(b"RIFF") && image.len() as u64 <= MAX_BYTES, "{name}: {} bytes", image.len());
    let committed = root.join(format!("docs/{name}.webp"));
    let committed = committed.metadata().unwrap_or_else(|error| panic!("{}: {error}", committed.display())).len();
    assert!(committed <= MAX_BYTES, "docs/{name}.webp has {committed} bytes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn screenshots_of_the_demo_show_every_view_and_are_small() {
    let server = Server::start(Arc::new(MemoryRegistry::new()), ServeOptions::default()).await;
    let mut demo =
        Running::start(&["demo", "--seed", "7", "--streams", "120", "--store", &format!("http://{}", server.addr)]);
    demo.line_with("simulated streams on http://");
    let tab = Tab::open_observed(&format!("http://{}/", server.addr), DESK, FAST);
    tab.prefer("light");
    tab.until(&format!("{STREAMS} && {SIGN} === 'Live'"));
    // The streams report statistics after a few seconds.
    tab.until(
        "document.getElementById('streams').ariaRowCount > 110 && !/\\b0\\sbit\\/s/.test(document.body.innerText)",
    );
    tab.until(POLLED);
    save(&tab, "dashboard", DESK);
    // The stream that loses most.
    tab.click("[data-sort=loss]");
    tab.until(&format!("{ROWS}[0].querySelector('.loss .high') !== null"));
    tab.eval(&format!("{ROWS}[0].click()"));
    tab.until("document.querySelectorAll('#fields div').length > 10");
    tab.until("document.getElementById('chart-loss-text').textContent !== '–'");
    save(&tab, "dashboard-details", DESK);
    tab.press("Escape");
    for view in ["nodes", "events", "ended"] {
        tab.click(&format!("#views [data-view={view}]"));
        tab.until(&format!("document.querySelectorAll('#{view} .body .row:not([hidden])').length > 0"));
        save(&tab, &format!("dashboard-{view}"), DESK);
    }
    tab.click("#views [data-view=streams]");
    tab.resize(PHONE);
    tab.prefer("dark");
    tab.until("document.querySelector('#streams .body .row')?.getBoundingClientRect().height > 100");
    save(&tab, "dashboard-phone", PHONE);
    demo.signal("INT");
    assert_eq!(demo.ended(), Some(0));
}

/// Decodes base64 (RFC 4648, section 4). The browser returns the image in this encoding.
fn from_base64(encoded: &Value) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0_u32, 0);
    for digit in encoded.as_str().unwrap().bytes().filter(|digit| *digit != b'=') {
        let value = DIGITS.iter().position(|known| *known == digit).expect("the browser returned invalid base64");
        bits = bits << 6 | u32::try_from(value).unwrap();
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    bytes
}

//! The screenshot of the dashboard in the README. It shows the simulated streams of `streamreg demo`.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use stream_registry::MemoryRegistry;
use streamreg::server::ServeOptions;

use super::{DESK, STREAMS, open};
use crate::cli::Running;
use crate::http::kit::Server;

/// Path of the screenshot in the README, relative to the root of the repository.
const COMMITTED: &str = "docs/dashboard.webp";
const MAX_BYTES: u64 = 150_000;

/// Saves a new screenshot to `target/dashboard.webp`. If the dashboard has changed, copy the new screenshot over the
/// committed file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn screenshot_of_the_demo_shows_every_stream_and_is_small() {
    let server = Server::start(Arc::new(MemoryRegistry::new()), ServeOptions::default()).await;
    let mut demo = Running::start(&["demo", "--seed", "7", "--store", &format!("http://{}", server.addr)]);
    demo.line_with("simulated streams on http://");
    let tab = open(&server, DESK);
    tab.until(STREAMS);
    tab.prefer("light");
    // The streams report statistics after a few seconds, and the page refreshes every few seconds.
    tab.until(
        "document.getElementById('streams').ariaRowCount > 18 && !/\\b0\\sbit\\/s/.test(document.body.innerText)",
    );
    let clip = json!({ "x": 0, "y": 0, "width": DESK, "height": 905, "scale": 1 });
    let shown = tab.call(
        "Page.captureScreenshot",
        &json!({ "format": "webp", "quality": 80, "clip": clip, "captureBeyondViewport": true }),
    );
    demo.signal("INT");
    assert_eq!(demo.ended(), Some(0));
    let image = from_base64(&shown["data"]);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::fs::write(root.join("target/dashboard.webp"), &image).unwrap();
    assert!(image.starts_with(b"RIFF") && image.len() as u64 <= MAX_BYTES, "{} bytes", image.len());
    let committed = root.join(COMMITTED).metadata().unwrap_or_else(|error| panic!("{COMMITTED}: {error}")).len();
    assert!(committed <= MAX_BYTES, "{COMMITTED} has {committed} bytes");
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

//! The screenshot of `top` in its page. It shows the simulated streams of `streamreg demo`.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use super::{ids, start};
use crate::cli::{Running, Server};

/// Path of the screenshot, relative to the root of the repository.
const COMMITTED: &str = "docs/top.webp";
const MAX_BYTES: u64 = 100_000;
/// Size of the terminal in characters, and of the image in pixels.
const SIZE: (u16, u16) = (120, 26);
const PIXELS: (u32, u32) = (1_000, 478);

/// Saves a new screenshot to `target/top.webp`. If `top` has changed, copy the new screenshot over the committed file.
#[test]
fn screenshot_of_top_shows_the_demo_and_is_small() {
    let server = Server::start(&[]);
    let demo = Running::start(&["demo", "--seed", "7", "--store", &server.url]);
    demo.line_with("simulated streams on http://");
    let top = start(&server, "top --sort -loss", SIZE.0, SIZE.1);
    top.until("the streams have statistics and a history", |screen| {
        ids(screen).len() >= 18 && screen.contains("LOSS▼") && screen.lines().next().unwrap().contains("▇█")
    });
    let dir = tempfile::tempdir().unwrap();
    let page = dir.path().join("top.html");
    std::fs::write(&page, html(&top.styled_screen())).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let image = root.join("target/top.webp");
    let mut chromium = Command::new("chromium");
    chromium.args(["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]);
    chromium.arg(format!("--user-data-dir={}", dir.path().join("profile").display()));
    chromium.arg(format!("--window-size={},{}", PIXELS.0, PIXELS.1)).arg(format!("--screenshot={}", image.display()));
    let output = chromium.arg(&page).output().expect("chromium is missing; run scripts/setup to install it");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let bytes = std::fs::read(&image).unwrap();
    assert!(bytes.starts_with(b"RIFF") && bytes.len() as u64 <= MAX_BYTES, "{} bytes", bytes.len());
    let committed = root.join(COMMITTED).metadata().unwrap_or_else(|error| panic!("{COMMITTED}: {error}")).len();
    assert!(committed <= MAX_BYTES, "{COMMITTED} has {committed} bytes");
}

/// Converts a screen with the escape sequences of its colours (ECMA-48, SGR) to a page.
fn html(screen: &str) -> String {
    let mut page = "<!doctype html><meta charset=utf-8><style>body{margin:0;background:#10151c}\
        pre{margin:10px 14px;color:#d6dde6;font:13.4px/17.5px 'DejaVu Sans Mono',monospace}\
        b{color:#fff}.c31{color:#ff6b6b}.c32{color:#5fd787}.c33{color:#ffd75f}.c2{opacity:.6}\
        .c7{background:#d6dde6;color:#10151c}</style><pre>"
        .to_owned();
    let mut classes: Vec<u32> = Vec::new();
    for (at, part) in screen.trim_end().split("\u{1b}[").enumerate() {
        let text = match part.split_once('m') {
            Some((codes, text)) if at > 0 => {
                // The colours are in the palette: 38;5;2 is the same as 32.
                let codes = codes.replace("38;5;", "3");
                for code in codes.split(';').map(|code| code.parse().unwrap_or_default()) {
                    match code {
                        0 => classes.clear(),
                        39 => classes.retain(|class| !(30..38).contains(class)),
                        code => classes.push(code),
                    }
                }
                text
            }
            _ => part,
        };
        let names: String = classes.iter().fold(String::new(), |names, class| names + &format!("c{class} "));
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        let tag = if classes.contains(&1) { "b" } else { "span" };
        write!(page, "<{tag} class='{names}'>{text}</{tag}>").unwrap();
    }
    page
}

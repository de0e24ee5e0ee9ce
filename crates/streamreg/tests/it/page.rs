//! The dashboard at `/` in a real browser, served by a real server.
//!
//! The server runs on the threads of the runtime. The test thread drives the browser and may block.

mod axe;
mod browser;
mod charts;
mod details;
mod docs;
mod ended;
mod feed;
mod hostile;
mod http2;
mod keys;
mod layout;
mod origins;
mod outages;
mod scale;
mod screenshot;
mod selection;
mod token;
mod views;

use std::process::Command;
use std::sync::Arc;

use stream_registry::{MemoryRegistry, Registry, StreamStats, StreamStatus};
use streamreg::server::ServeOptions;

use self::browser::Tab;
use crate::http::kit::{Server, id, stream};

/// The sign in the header that says whether the page is live.
const SIGN: &str = "document.getElementById('connection').textContent";
const PHONE: u32 = 390;
const DESK: u32 = 1280;
/// The table shows at least one stream, and the page follows the events.
const STREAMS: &str = "!!document.querySelector('#streams:not([hidden]) .body .row:not([hidden])')
    && document.getElementById('connection').textContent === 'Live'";
const EMPTY: &str = "!document.getElementById('empty').hidden";
const OUTAGE: &str = "!document.getElementById('outage').hidden";
/// Expands to an expression for the rows of the table that have elements, in order.
macro_rules! rows {
    () => {
        "[...document.querySelectorAll('#streams .body .row:not([hidden])')]
            .sort((one, other) => one.ariaRowIndex - other.ariaRowIndex)"
    };
}

const ROWS: &str = rows!();
/// The ids of these rows.
const IDS: &str = concat!(rows!(), ".map((row) => row.querySelector('.id').textContent).join()");
/// Number of rows of the table, on and off the screen.
const COUNT: &str = "document.getElementById('streams').ariaRowCount - 1";
/// The texts of the status chips.
const CHIPS: &str = "[...document.querySelectorAll('#chips button')].map((chip) => chip.textContent).join(', ')";

fn open(server: &Server, width: u32) -> Tab {
    Tab::open(&format!("http://{}/", server.addr), width)
}

/// Returns the contents of a row's cells, joined.
fn row(tab: &Tab, id: &str) -> String {
    let id = serde_json::to_string(id).unwrap();
    tab.text(&format!(
        "[...{ROWS}.find((row) => row.querySelector('.id').textContent === {id}).children]
          .map((cell) => cell.textContent).join('|')"
    ))
}

fn summary(tab: &Tab) -> String {
    tab.text("document.getElementById('summary').textContent")
}

fn chips(tab: &Tab) -> String {
    tab.text(CHIPS)
}

async fn add(registry: &dyn Registry, text: &str, status: StreamStatus) {
    let mut stream = stream(text);
    stream.set_status(status);
    registry.register(&stream).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dashboard_list_shows_streams_and_follows_changes() {
    let registry = Arc::new(MemoryRegistry::new());
    add(&*registry, "cam1", StreamStatus::Active).await;
    add(&*registry, "cam2", StreamStatus::Paused).await;
    let stats = StreamStats {
        bitrate: Some(5_000_000),
        packets_received: Some(97),
        packets_lost: Some(3),
        ..StreamStats::default()
    };
    registry.update_stats(&id("cam1"), &stats).await.unwrap();
    // The server starts after the write. Its view follows the change feed, which does not contain statistics.
    let server = Server::start(registry.clone(), ServeOptions::default()).await;
    let tab = open(&server, DESK);
    tab.until(STREAMS);
    assert!(row(&tab, "cam1").starts_with("active|cam1|srt|203.0.113.7:40112|–|–|5.0 Mbit/s|3.00 %|–|"));
    assert!(row(&tab, "cam2").starts_with("paused|cam2|srt|203.0.113.7:40112|–|–|0 bit/s|–|–|"));
    tab.until("!/Loading/.test(document.getElementById('summary').textContent)");
    assert_eq!(summary(&tab), "2 live streams");
    assert_eq!(chips(&tab), "All 2, active 1, connecting 0, paused 1, error 0, closed 0");
    assert_eq!(tab.text("document.title"), "2 live streams");

    registry.unregister(&id("cam1")).await.unwrap();
    add(&*registry, "cam3", StreamStatus::Error).await;
    registry.update_status(&id("cam2"), StreamStatus::Active).await.unwrap();
    tab.until(&format!("{CHIPS} === 'All 2, active 1, connecting 0, paused 0, error 1, closed 0'"));
    tab.until(&format!("{IDS} === 'cam2,cam3'"));
    assert!(row(&tab, "cam2").starts_with("active|"));

    registry.unregister(&id("cam2")).await.unwrap();
    registry.unregister(&id("cam3")).await.unwrap();
    tab.until(EMPTY);
    assert_eq!(tab.eval("document.getElementById('streams').hidden"), true);
    assert_eq!(tab.text("faults.join()"), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dashboard_of_an_empty_registry_shows_commands_that_work() {
    let (server, registry) = Server::memory().await;
    let tab = open(&server, DESK);
    tab.until(EMPTY);
    assert_eq!(summary(&tab), "No live streams");
    tab.until("document.getElementById('ttl').textContent === '5 min'");
    let commands = tab.eval("[...document.querySelectorAll('code')].map((code) => code.textContent)");
    let commands: Vec<&str> = commands.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect();
    let store = format!(" --store http://{}", server.addr);
    for (command, begin) in commands.iter().zip(["streamreg demo", "streamreg register", "streamreg heartbeat cam1"]) {
        assert!(command.starts_with(begin) && command.ends_with(&store), "{command}");
    }
    assert!(commands[4].starts_with(&format!("curl http://{}/api/v1/streams ", server.addr)), "{}", commands[4]);

    // Copies a command with the keyboard only.
    tab.call("Page.bringToFront", &serde_json::json!({}));
    tab.eval("document.querySelector('.command button').focus()");
    tab.press("Enter");
    tab.until("document.querySelector('.command button').textContent === 'Copied'");

    for command in &commands[1..4] {
        let done = Command::new(env!("CARGO_BIN_EXE_streamreg")).args(command.split(' ').skip(1)).output().unwrap();
        assert!(done.status.success(), "{command}: {}", String::from_utf8_lossy(&done.stderr));
    }
    assert_eq!(registry.get(&id("cam1")).await.unwrap().source_addr, "203.0.113.7:40112");
    tab.until(STREAMS);
    assert!(row(&tab, "cam1").starts_with("connecting|cam1|srt|"));
    assert_eq!(tab.text("faults.join()"), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dashboard_shows_an_outage_and_keeps_the_last_known_streams() {
    let (mut server, registry) = Server::memory().await;
    add(&*registry, "cam1", StreamStatus::Active).await;
    let tab = open(&server, DESK);
    tab.until(STREAMS);
    let top = "document.getElementById('streams').getBoundingClientRect().top";
    let before = tab.eval(top);
    server.begin_stop();
    server.stopped().await;
    tab.until(OUTAGE);
    let message = tab.text("document.getElementById('trouble').textContent");
    assert!(message.starts_with("The server has not responded since "), "{message}");
    assert!(message.ends_with(" Showing the last known streams."), "{message}");
    assert!(tab.text("document.title").starts_with("No response"));
    assert!(row(&tab, "cam1").starts_with("active|cam1|srt|"));
    assert_eq!(tab.eval(top), before, "the list moved");
    assert!(tab.text(SIGN).starts_with("Not live, data from "));
    // The rows are filtered and sorted without the server.
    tab.type_into("#search", "cam2");
    tab.until("!document.getElementById('none').hidden");
}

/// Lists every visible text with a contrast below 4.5 : 1 (WCAG 2.2, 1.4.3).
const LOW_CONTRAST: &str = r"(() => {
  const rgb = (text) => text.match(/[\d.]+/g).map(Number);
  const luminance = (text) => {
    const [r, g, b] = rgb(text).map((c) => c / 255).map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const background = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      if ((rgb(color)[3] ?? 1) === 1) return color;
    }
  };
  const texts = [...document.body.querySelectorAll('*')].filter((e) => e.checkVisibility()
    && [...e.childNodes].some((node) => node.nodeType === 3 && node.data.trim() !== ''));
  const ratio = (e) => {
    const [a, b] = [luminance(getComputedStyle(e).color), luminance(background(e))].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05);
  };
  const low = texts.filter((e) => !(ratio(e) >= 4.5)).map((e) => `${e.textContent}: ${ratio(e)}`);
  return texts.length > 30 ? low.join() : `only ${texts.length} texts`;
})()";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn visible_text_has_enough_contrast_in_light_and_dark_mode() {
    let (mut server, registry) = Server::memory().await;
    for status in ["connecting", "active", "paused", "error", "closed", "odd"] {
        add(&*registry, &format!("is {status}"), status.parse().unwrap()).await;
    }
    let stats = StreamStats { packets_received: Some(97), packets_lost: Some(3), ..StreamStats::default() };
    registry.update_stats(&id("is active"), &stats).await.unwrap();
    let tab = open(&server, DESK);
    tab.until(STREAMS);
    let check = |state: &str| {
        let backgrounds = ["light", "dark"].map(|scheme| {
            tab.prefer(scheme);
            assert_eq!(tab.text(LOW_CONTRAST), "", "{scheme}, {state}");
            tab.text("getComputedStyle(document.body).backgroundColor")
        });
        assert_ne!(backgrounds[0], backgrounds[1]);
    };
    check("live");
    server.begin_stop();
    server.stopped().await;
    tab.until(OUTAGE);
    check("outage");
}

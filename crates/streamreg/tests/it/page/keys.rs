//! The keys of the dashboard.

use stream_registry::StreamStatus;

use super::browser::Tab;
use super::{DESK, IDS, STREAMS, add};
use crate::http::kit::Server;

/// The id of the element that has the focus.
const FOCUS: &str = "document.activeElement.id";
/// The id of the stream whose row the keyboard has reached.
const CHOSEN: &str = "document.querySelector('.table:not([hidden]) [aria-selected=true] .id').textContent";

async fn open_with_streams(query: &str) -> (Server, Tab) {
    let (server, registry) = Server::memory().await;
    for text in ["cam1", "cam2", "cam3"] {
        add(&*registry, text, StreamStatus::Active).await;
    }
    let tab = Tab::open(&format!("http://{}/{query}", server.addr), DESK);
    tab.until(STREAMS);
    (server, tab)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn enter_and_arrow_down_lead_from_the_search_to_the_first_row() {
    let (_server, tab) = open_with_streams("").await;
    for (key, text) in [("Enter", "cam2"), ("ArrowDown", "cam3")] {
        tab.press("/");
        assert_eq!(tab.text(FOCUS), "search");
        tab.call("Input.insertText", &serde_json::json!({ "text": text }));
        // The key applies the search at once.
        tab.press(key);
        assert_eq!(tab.text(FOCUS), "streams", "{key}");
        tab.until(&format!("{IDS} === '{text}' && {CHOSEN} === '{text}' && location.search === '?search={text}'"));
    }
    tab.press("Enter");
    tab.until("location.search === '?search=cam3&stream=cam3' && !document.getElementById('drawer').hidden");
    tab.press("Escape");
    tab.until("document.getElementById('drawer').hidden");
    // Without a row, the search keeps the focus.
    tab.type_into("#search", "nothing");
    tab.press("Enter");
    assert_eq!(tab.text(FOCUS), "search");
    assert_eq!(tab.text("faults.join()"), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn enter_leads_from_the_search_to_the_first_heading_of_groups() {
    let (_server, tab) = open_with_streams("?group=node").await;
    tab.press("/");
    tab.press("Enter");
    tab.until(&format!("{FOCUS} === 'streams' && {CHOSEN} === 'No node (3)'"));
    tab.press("Enter");
    tab.until(&format!("{IDS} === 'No node (3)'"));
    tab.press("Enter");
    tab.until(&format!("{IDS} === 'No node (3),cam1,cam2,cam3'"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn escape_clears_the_search_and_leaves_it() {
    let (_server, tab) = open_with_streams("").await;
    tab.press("/");
    tab.call("Input.insertText", &serde_json::json!({ "text": "cam2" }));
    tab.until(&format!("{IDS} === 'cam2' && location.search === '?search=cam2'"));
    tab.press("Escape");
    tab.until(&format!("{IDS} === 'cam1,cam2,cam3' && location.search === ''"));
    assert_eq!(tab.text("document.getElementById('search').value"), "");
    assert_eq!(tab.text(FOCUS), "");
    assert_eq!(tab.text("faults.join()"), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slash_and_question_mark_in_a_field_do_not_move_the_focus() {
    let (_server, tab) = open_with_streams("?stream=cam1").await;
    tab.until("document.getElementById('actions').checkVisibility()");
    for field in ["by-type", "by-node", "new-status", "end-reason"] {
        tab.eval(&format!("document.getElementById('{field}').focus()"));
        for key in ["/", "?"] {
            tab.press(key);
            assert_eq!(tab.text(FOCUS), field, "{key}");
            assert_eq!(tab.eval("document.getElementById('help').open"), false);
        }
    }
    for field in ["by-type", "by-node"] {
        tab.eval(&format!("document.getElementById('{field}').focus()"));
        tab.press("Escape");
        assert_eq!(tab.text(FOCUS), "", "{field}");
        assert_eq!(tab.eval("document.getElementById('drawer').hidden"), false);
    }
    assert_eq!(tab.text("document.getElementById('end-reason').value"), "/?");
    tab.press("?");
    assert_eq!(tab.eval("document.getElementById('help').open"), true);
}

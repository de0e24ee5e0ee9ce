//! Search, filters and order of the dashboard, and the URL that contains them.

use std::sync::Arc;

use stream_registry::{Error, ErrorKind, MemoryRegistry, Registry, StreamStats, StreamStatus};
use streamreg::server::ServeOptions;

use super::browser::Tab;
use super::{CHIPS, COUNT, DESK, IDS, OUTAGE, ROWS, STREAMS, add, chips, open, row, summary};
use crate::http::kit::{BlockingRegistry, Server, id, stream};

/// The part of the URL that contains the selection.
const QUERY: &str = "location.search";
/// The sorted column and its direction.
const SORTED: &str = "[...document.querySelectorAll('[aria-sort]')]
    .map((header) => `${header.textContent} ${header.ariaSort}`).join()";
/// The status chips that are pressed.
const PRESSED: &str = "[...document.querySelectorAll('[aria-pressed=true]')].map((chip) => chip.textContent).join()";

fn open_at(server: &Server, query: &str) -> Tab {
    let tab = Tab::open(&format!("http://{}/{query}", server.addr), DESK);
    tab.until(STREAMS);
    tab
}

/// Registers streams `PREFIX0000`, `PREFIX0001` and so on.
async fn add_many(registry: &MemoryRegistry, prefix: &str, count: usize, status: StreamStatus) {
    for number in 0..count {
        add(registry, &format!("{prefix}{number:04}"), status.clone()).await;
    }
}

async fn set_bitrate(registry: &dyn Registry, text: &str, bits: u64) {
    let stats = StreamStats { bitrate: Some(bits), ..StreamStats::default() };
    registry.update_stats(&id(text), &stats).await.unwrap();
}

/// Starts a server whose view already contains the streams and their bit rates.
async fn serve(registry: &Arc<MemoryRegistry>) -> Server {
    Server::start(registry.clone(), ServeOptions::default()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn totals_of_ten_thousand_streams_are_exact() {
    let registry = Arc::new(MemoryRegistry::new());
    add_many(&registry, "a", 6_000, StreamStatus::Active).await;
    add_many(&registry, "c", 3_750, StreamStatus::Connecting).await;
    add_many(&registry, "e", 250, StreamStatus::Error).await;
    let server = serve(&registry).await;
    let tab = open_at(&server, "");
    tab.until(&format!("{CHIPS} === 'All 10,000, active 6,000, connecting 3,750, paused 0, error 250, closed 0'"));
    tab.until(&format!("{COUNT} === 10000 && document.title === '10,000 live streams'"));
    assert_eq!(summary(&tab), "10,000 live streams");
    // The change feed has no events for statistics, so the server counts.
    set_bitrate(&server.client().await, "a0000", 7_000_000).await;
    tab.until("document.getElementById('total-bitrate').textContent === '7.0 Mbit/s'");

    tab.click("#chips .error");
    tab.until(&format!("{COUNT} === 250 && {IDS}.startsWith('e0000,')"));
    tab.until("document.title === '250 of 10,000 live streams have status error'");
    assert_eq!(chips(&tab), "All 10,000, active 6,000, connecting 3,750, paused 0, error 250, closed 0");
    assert_eq!(tab.text("document.getElementById('total-bitrate').textContent"), "0 bit/s");
    assert_eq!(tab.text("faults.join()"), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn registry_above_the_limit_is_filtered_by_the_server() {
    let registry = Arc::new(MemoryRegistry::new());
    for number in 0..20_100 {
        add(&*registry, &format!("cam{number:05}"), StreamStatus::Active).await;
    }
    let server = serve(&registry).await;
    let tab = open_at(&server, "");
    tab.until(&format!("{COUNT} === 20000"));
    tab.until(
        "document.getElementById('summary').textContent.startsWith('20,100 live streams; only the first 20,000 ')",
    );
    // A search finds streams that were not loaded before, and follows their changes.
    tab.type_into("#search", "cam200");
    tab.until(&format!("{COUNT} === 100 && {IDS}.startsWith('cam20000,')"));
    tab.until("document.getElementById('summary').textContent === '100 streams match “cam200”'");
    registry.unregister(&id("cam20000")).await.unwrap();
    add(&*registry, "cam200x", StreamStatus::Active).await;
    add(&*registry, "other", StreamStatus::Active).await;
    tab.until(&format!("{COUNT} === 100 && {IDS}.startsWith('cam20001,')"));
    tab.eval("scrollTo(0, document.documentElement.scrollHeight)");
    tab.until(&format!("{IDS}.endsWith(',cam20099,cam200x')"));
    tab.click("#clear");
    tab.until(&format!("{COUNT} === 20000"));
    assert_eq!(tab.text("faults.join()"), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn order_by_statistics_includes_rows_off_the_screen() {
    let registry = Arc::new(MemoryRegistry::new());
    add_many(&registry, "cam", 1_500, StreamStatus::Active).await;
    let server = serve(&registry).await;
    let tab = open_at(&server, "?sort=-bitrate");
    tab.until(&format!("{COUNT} === 1500"));
    // No event reports these values.
    set_bitrate(&*registry, "cam0700", 1_000_000).await;
    set_bitrate(&*registry, "cam0001", 2_000_000).await;
    tab.until(&format!("{IDS}.startsWith('cam0001,cam0700,cam1499,')"));
    assert_eq!(tab.text("faults.join()"), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_rows_on_the_screen_have_elements() {
    let registry = Arc::new(MemoryRegistry::new());
    add_many(&registry, "cam", 3_000, StreamStatus::Active).await;
    let server = serve(&registry).await;
    let tab = open_at(&server, "");
    tab.until(&format!("{COUNT} === 3000"));
    let elements = "document.querySelectorAll('#streams [role=row]').length";
    let is_on_screen = |id: &str| {
        tab.until(&format!(
            "(() => {{
               const row = {ROWS}.find((row) => row.querySelector('.id').textContent === '{id}');
               const box = row.getBoundingClientRect();
               return box.top >= 0 && box.bottom <= innerHeight;
             }})()"
        ));
    };
    is_on_screen("cam0000");
    tab.eval("scrollTo(0, document.documentElement.scrollHeight)");
    is_on_screen("cam2999");
    assert_eq!(tab.eval(&format!("{ROWS}.at(-1).ariaRowIndex")), "3001");
    assert!(tab.eval(elements).as_u64().unwrap() < 60, "{}", tab.eval(elements));
    // The keyboard reaches every row, and the page scrolls to it.
    tab.eval("document.getElementById('streams').focus()");
    for (key, id) in [("Home", "cam0000"), ("ArrowDown", "cam0001"), ("End", "cam2999"), ("ArrowUp", "cam2998")] {
        tab.press(key);
        is_on_screen(id);
        let active =
            "document.getElementById(document.getElementById('streams').getAttribute('aria-activedescendant'))";
        tab.until(&format!("{active}.querySelector('.id').textContent === '{id}' && {active}.ariaSelected === 'true'"));
    }
    assert!(tab.eval(elements).as_u64().unwrap() < 60, "{}", tab.eval(elements));
    assert_eq!(tab.text("faults.join()"), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn search_narrows_the_list_and_the_totals() {
    let (server, registry) = Server::memory().await;
    add_many(&registry, "north", 3, StreamStatus::Active).await;
    add(&*registry, "north-down", StreamStatus::Error).await;
    add_many(&registry, "south", 4, StreamStatus::Active).await;
    let tab = open_at(&server, "");
    // Further typing replaces the entry of the search in the history, so Back does not undo it letter by letter.
    let entries = tab.eval("history.length").as_u64().unwrap();
    tab.type_into("#search", "NOR");
    tab.until(&format!("{QUERY} === '?search=NOR'"));
    tab.type_into("#search", "TH");
    tab.until(&format!("{QUERY} === '?search=NORTH'"));
    assert_eq!(tab.eval("history.length"), entries + 1);
    // The first part of the search has the same matches, so the rows do not show whether they belong to the whole search.
    tab.until("document.getElementById('summary').textContent === '4 streams match “NORTH”'");
    assert_eq!(tab.text(IDS), "north-down,north0000,north0001,north0002");
    assert_eq!(chips(&tab), "All 4, active 3, connecting 0, paused 0, error 1, closed 0");
    tab.click("#chips .error");
    tab.until(&format!("{IDS} === 'north-down'"));
    tab.until("document.title === '1 of 4 streams that match “NORTH” has status error'");

    tab.type_into("#search", " nowhere");
    tab.until("!document.getElementById('none').hidden && document.getElementById('streams').hidden");
    tab.until("document.title === 'No streams match'");
    tab.click("#clear");
    tab.until(&format!("{COUNT} === 8 && {QUERY} === '' && document.activeElement.id === 'search'"));
    tab.eval("history.back()");
    tab.until("document.getElementById('search').value === 'NORTH nowhere'");
    assert_eq!(tab.text("faults.join()"), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn click_on_a_header_sorts_the_worst_first_and_a_second_click_reverses() {
    let registry = Arc::new(MemoryRegistry::new());
    for (text, bits) in [("cam1", 200), ("cam2", 300), ("cam3", 100)] {
        add(&*registry, text, StreamStatus::Active).await;
        set_bitrate(&*registry, text, bits).await;
    }
    let server = serve(&registry).await;
    let tab = open_at(&server, "");
    assert_eq!((tab.text(IDS), tab.text(SORTED)), ("cam1,cam2,cam3".into(), "Stream ascending".into()));
    tab.click("[data-sort=bitrate]");
    tab.until(&format!("{IDS} === 'cam2,cam1,cam3'"));
    assert_eq!((tab.text(QUERY), tab.text(SORTED)), ("?sort=-bitrate".into(), "Bitrate descending".into()));
    // The header is a button, so it works with the keyboard.
    tab.eval("document.querySelector('[data-sort=bitrate]').focus()");
    tab.press("Enter");
    tab.until(&format!("{IDS} === 'cam3,cam1,cam2'"));
    assert_eq!((tab.text(QUERY), tab.text(SORTED)), ("?sort=bitrate".into(), "Bitrate ascending".into()));
    assert_eq!(tab.text("document.activeElement.textContent"), "Bitrate");
    tab.click("[data-sort=id]");
    tab.until(&format!("{IDS} === 'cam1,cam2,cam3'"));
    assert_eq!((tab.text(QUERY), tab.text(SORTED)), (String::new(), "Stream ascending".into()));
    assert_eq!(tab.text("faults.join()"), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_click_puts_the_youngest_stream_or_the_oldest_heartbeat_on_top() {
    let (server, registry) = Server::memory().await;
    // The page compares milliseconds.
    let heartbeat = async |text: &str| {
        let stream = registry.get(&id(text)).await.unwrap();
        stream.last_heartbeat.as_unix_nanos() / 1_000_000
    };
    add_many(&registry, "cam", 3, StreamStatus::Active).await;
    let registered = heartbeat("cam0002").await;
    while heartbeat("cam0000").await <= registered {
        registry.update_heartbeat(&id("cam0000")).await.unwrap();
    }
    let tab = open_at(&server, "");
    tab.click("[data-sort=created_at]");
    tab.until(&format!("{IDS} === 'cam0002,cam0001,cam0000'"));
    assert_eq!((tab.text(QUERY), tab.text(SORTED)), ("?sort=-created_at".into(), "Age ascending".into()));
    tab.click("[data-sort=last_heartbeat]");
    tab.until(&format!("{IDS} === 'cam0001,cam0002,cam0000'"));
    assert_eq!((tab.text(QUERY), tab.text(SORTED)), ("?sort=last_heartbeat".into(), "Heartbeat descending".into()));
    tab.click("[data-sort=last_heartbeat]");
    tab.until(&format!("{IDS}.startsWith('cam0000,') && {SORTED} === 'Heartbeat ascending'"));
    assert_eq!(tab.text("faults.join()"), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn url_restores_the_selection_after_reload_back_and_in_another_tab() {
    let (server, registry) = Server::memory().await;
    add_many(&registry, "cam", 15, StreamStatus::Active).await;
    add_many(&registry, "idle", 5, StreamStatus::Paused).await;
    let tab = open_at(&server, "");
    tab.until(&format!("{PRESSED} === 'All 20'"));
    tab.click("#chips .active");
    tab.until(&format!("{COUNT} === 15"));
    tab.click("[data-sort=id]");
    let last = format!(
        "{COUNT} === 15 && {IDS}.startsWith('cam0014,') && {SORTED} === 'Stream descending' && {PRESSED} === 'active 15'"
    );
    tab.until(&last);
    assert_eq!(tab.text(QUERY), "?status=active&sort=-id");

    tab.call("Page.reload", &serde_json::json!({}));
    tab.until(&last);
    let link = tab.text("location.href");
    Tab::open(&link, DESK).until(&last);

    tab.eval("history.back()");
    tab.until(&format!("{IDS}.startsWith('cam0000,') && {PRESSED} === 'active 15'"));
    tab.eval("history.back()");
    tab.until(&format!("{PRESSED} === 'All 20' && {QUERY} === ''"));
    tab.eval("history.go(2)");
    tab.until(&last);
    // A second click on a chip shows all streams again.
    tab.click("#chips .active");
    tab.until(&format!("{PRESSED} === 'All 20' && {QUERY} === '?sort=-id'"));
    assert_eq!(tab.text("faults.join()"), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn type_and_node_filter_the_list_and_groups_can_be_folded() {
    let (server, registry) = Server::memory().await;
    for (text, node, kind) in [("cam1", Some("n2"), "srt"), ("cam2", Some("n1"), "rtp"), ("cam3", None, "srt")] {
        let mut stream = stream(text);
        (stream.node, stream.kind) = (node.map(str::to_owned), kind.parse().unwrap());
        registry.register(&stream).await.unwrap();
    }
    let tab = open_at(&server, "");
    let choose = |menu: &str, option: &str| {
        tab.eval(&format!(
            "(() => {{
               const menu = document.getElementById('by-{menu}');
               menu.focus();
               menu.selectedIndex = [...menu.options].findIndex((one) => one.text === '{option}');
               menu.dispatchEvent(new Event('change'));
             }})()"
        ));
    };
    choose("type", "srt");
    tab.until(&format!("{IDS} === 'cam1,cam3' && {QUERY} === '?type=srt'"));
    tab.until("document.title === '2 streams match the filters'");
    choose("node", "No node");
    tab.until(&format!("{IDS} === 'cam3' && {QUERY} === '?type=srt&node='"));
    choose("type", "Any type");
    choose("node", "n1");
    tab.until(&format!("{IDS} === 'cam2' && {QUERY} === '?node=n1'"));
    tab.click("#clear");
    tab.click("#group");
    tab.until(&format!("{IDS} === 'No node (1),cam3,n1 (1),cam2,n2 (1),cam1' && {QUERY} === '?group=node'"));
    tab.click("#streams .heading:has(+ .row)");
    tab.until(&format!("{IDS} === 'No node (1),n1 (1),cam2,n2 (1),cam1'"));
    assert_eq!(tab.text("faults.join()"), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_statuses_have_few_chips_and_are_all_counted() {
    let (server, registry) = Server::memory().await;
    for status in 0..9 {
        add(&*registry, &format!("cam{status}"), format!("odd{status}").parse().unwrap()).await;
    }
    add(&*registry, "cam9", "odd8".parse().unwrap()).await;
    let tab = open_at(&server, "?status=odd7");
    let known = "All 10, active 0, connecting 0, paused 0, error 0, closed 0";
    tab.until(&format!("{CHIPS} === '{known}, odd0 1, odd1 1, odd2 1, odd3 1, odd4 1, odd7 1, odd8 2'"));
    assert_eq!(tab.text("document.getElementById('rest').textContent"), "2 with other statuses");
    assert_eq!((tab.text(IDS), tab.text(PRESSED)), ("cam7".into(), "odd7 1".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn visible_row_is_updated_and_keeps_its_place_under_the_pointer() {
    let (server, registry) = Server::memory().await;
    let client = server.client().await;
    for (text, bits) in [("cam1", 1_000_000), ("cam2", 2_000_000), ("cam3", 3_000_000)] {
        client.register(&stream(text)).await.unwrap();
        set_bitrate(&client, text, bits).await;
    }
    let tab = open_at(&server, "?sort=-bitrate");
    tab.until(&format!("{IDS} === 'cam3,cam2,cam1'"));
    tab.point_at("#streams .body");
    set_bitrate(&client, "cam1", 9_000_000).await;
    registry.unregister(&id("cam2")).await.unwrap();
    tab.until("!document.getElementById('held').hidden");
    tab.until(&format!("{ROWS}[2].querySelector('.bitrate').textContent === '9.0 Mbit/s'"));
    // The row of a stream that has ended keeps its place, too, but says so.
    tab.until(&format!("{ROWS}[1].querySelector('.status').textContent === 'ended'"));
    assert_eq!(tab.text(IDS), "cam3,cam2,cam1");
    // The next run of the stream takes its place.
    client.register(&stream("cam2")).await.unwrap();
    set_bitrate(&client, "cam2", 4_000_000).await;
    tab.until(&format!("{ROWS}[1].querySelector('.bitrate').textContent === '4.0 Mbit/s'"));
    assert!(row(&tab, "cam2").starts_with("connecting|cam2|"), "{}", row(&tab, "cam2"));
    assert_eq!(tab.eval(&format!("{ROWS}[1].classList.contains('gone')")), false);
    assert_eq!(tab.text(IDS), "cam3,cam2,cam1");
    // When the pointer leaves the rows, they move to their places in the order.
    tab.point_at("h1");
    tab.until(&format!("{IDS} === 'cam1,cam2,cam3'"));
    assert!(row(&tab, "cam1").contains("|9.0 Mbit/s|"));
    assert_eq!(tab.eval("document.getElementById('held').hidden"), true);
    assert_eq!(tab.text("faults.join()"), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rejected_link_shows_the_reason_and_can_be_cleared() {
    let (server, registry) = Server::memory().await;
    add(&*registry, "cam1", StreamStatus::Active).await;
    let tab = Tab::open(&format!("http://{}/?type=a%20b&sort=nothing", server.addr), DESK);
    tab.until(OUTAGE);
    let message = tab.text("document.getElementById('trouble').textContent");
    assert!(message.starts_with("The server rejected this selection: the type must have 1 to "), "{message}");
    tab.click("#clear");
    tab.until(&format!("{IDS} === 'cam1' && !({OUTAGE}) && {CHIPS}.startsWith('All 1, active 1,')"));
    assert_eq!(tab.text(QUERY), "");
    assert_eq!(tab.text("faults.join()"), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn error_of_the_store_shows_a_note_until_the_store_recovers() {
    let registry = BlockingRegistry::failing(Error::new(ErrorKind::Unavailable, "the store is on holiday"));
    let server = Server::start(registry.clone(), ServeOptions::default()).await;
    let tab = open(&server, DESK);
    tab.until(OUTAGE);
    let message = tab.text("document.getElementById('trouble').textContent");
    assert!(message.starts_with("The server has been unable to read its store since "), "{message}");
    assert!(message.contains("the store is on holiday"), "{message}");
    registry.recover();
    add(&*registry, "cam1", StreamStatus::Active).await;
    tab.until(&format!("{IDS} === 'cam1' && !({OUTAGE})"));
    tab.until("document.title === '1 live stream'");
    assert_eq!(tab.text("faults.join()"), "");
}

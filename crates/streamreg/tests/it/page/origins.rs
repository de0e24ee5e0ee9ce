//! A web page of another origin that reads from the server with `fetch` and `EventSource`.

use std::sync::Arc;

use axum::Router;
use axum::response::Html;
use axum::routing::get;
use stream_registry::{MemoryRegistry, Registry as _};
use streamreg::server::ServeOptions;
use tokio::net::TcpListener;

use super::DESK;
use super::browser::Tab;
use crate::http::kit::{Server, stream};

/// Serves an empty page. Returns its origin.
async fn other_origin() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let page = Router::new().route("/", get(async || Html("<!doctype html><title>other</title><p>other")));
    tokio::spawn(async move { axum::serve(listener, page).await });
    origin
}

/// Starts requests from the page. Their results appear in `globalThis.result`.
fn start(tab: &Tab, server: &Server) {
    tab.eval(&format!(
        "(() => {{
          const base = 'http://{}/api/v1';
          const result = globalThis.result = {{}};
          const keep = (name, promise) => promise.then((value) => result[name] = value, () => result[name] = 'blocked');
          keep('list', fetch(`${{base}}/streams`).then(async (r) => (await r.json()).streams[0].id + !!r.headers.get('date')));
          keep('withToken', fetch(`${{base}}/info`, {{ headers: {{ authorization: 'Bearer x' }} }}).then((r) => `${{r.status}}`));
          keep('write', fetch(`${{base}}/streams/cam1`, {{ method: 'DELETE' }}).then((r) => `${{r.status}}`));
          const events = new EventSource(`${{base}}/events?from=oldest`);
          events.onmessage = events.onopen = () => result.events = 'open';
          events.onerror = () => {{ events.close(); result.events ??= 'blocked'; }};
          return null;
        }})()",
        server.addr
    ));
    tab.until("Object.keys(result).length === 4");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn page_of_an_allowed_origin_reads_lists_and_events_in_a_browser() {
    let origin = other_origin().await;
    let registry = Arc::new(MemoryRegistry::new());
    registry.register(&stream("cam1")).await.unwrap();
    let allowed = ServeOptions::default().allowed_origin(origin.parse().unwrap());
    let server = Server::start(registry.clone(), allowed).await;
    let tab = Tab::open(&origin, DESK);
    start(&tab, &server);
    let result = tab.text("JSON.stringify(result, Object.keys(result).sort())");
    assert_eq!(result, r#"{"events":"open","list":"cam1true","withToken":"200","write":"blocked"}"#);
    assert_eq!(registry.list().await.unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn page_of_an_allowed_origin_writes_with_the_token_in_a_browser() {
    let origin = other_origin().await;
    let registry = Arc::new(MemoryRegistry::new());
    registry.register(&stream("cam1")).await.unwrap();
    let options = ServeOptions::default().token("s3cret").allowed_origin(origin.parse().unwrap());
    let server = Server::start(registry.clone(), options).await;
    let tab = Tab::open(&origin, DESK);
    let write = |headers: &str| {
        tab.eval(&format!(
            "globalThis.answer = undefined;
             fetch('http://{}/api/v1/streams/cam1', {{ method: 'DELETE', headers: {headers} }})
               .then((response) => answer = response.status, () => answer = 'blocked');
             null",
            server.addr
        ));
        tab.until("answer !== undefined");
        tab.eval("answer")
    };
    for headers in ["{}", "{ authorization: 'Bearer wrong' }"] {
        assert_eq!(write(headers), 401, "{headers}");
    }
    assert_eq!(registry.list().await.unwrap().len(), 1);
    assert_eq!(write("{ authorization: 'Bearer s3cret' }"), 204);
    assert_eq!(registry.list().await.unwrap().len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn page_of_another_origin_reads_nothing_in_a_browser() {
    let origin = other_origin().await;
    let registry = Arc::new(MemoryRegistry::new());
    registry.register(&stream("cam1")).await.unwrap();
    let server = Server::start(registry.clone(), ServeOptions::default()).await;
    let tab = Tab::open(&origin, DESK);
    start(&tab, &server);
    let result = tab.text("JSON.stringify(result, Object.keys(result).sort())");
    assert_eq!(result, r#"{"events":"blocked","list":"blocked","withToken":"blocked","write":"blocked"}"#);
    assert_eq!(registry.list().await.unwrap().len(), 1);
}

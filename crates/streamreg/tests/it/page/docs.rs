//! The page of the API at `/docs`.

use std::net::SocketAddr;

use serde_json::Value;

use super::browser::Tab;
use super::{DESK, LOW_CONTRAST, PHONE};
use crate::http::kit::Server;
use crate::http::proxy::decoding_proxy;

fn open(addr: SocketAddr, path: &str, width: u32) -> Tab {
    Tab::open(&format!("http://{addr}{path}"), width)
}

/// Returns the text of the article that a fragment of the URL leads to.
const TARGET: &str = "document.querySelector('article:target').innerText";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn docs_page_has_an_anchor_for_each_operation_schema_and_code() {
    let (server, _) = Server::memory().await;
    let document = server.get("/openapi.json").await.json();
    let tab = open(server.addr, "/docs", DESK);
    let has = |id: &str| tab.eval(&format!("!!document.getElementById('{id}')?.querySelector('h3')")) == true;
    let mut operations = 0;
    for operation in document["paths"].as_object().unwrap().values().flat_map(|item| item.as_object().unwrap().values())
    {
        assert!(has(operation["operationId"].as_str().unwrap()), "{operation}");
        operations += 1;
    }
    assert_eq!(tab.eval("document.querySelectorAll('nav li').length"), operations);
    for name in document["components"]["schemas"].as_object().unwrap().keys() {
        assert!(has(&format!("schema-{name}")), "{name}");
    }
    let codes = document["components"]["schemas"]["ProblemCode"]["enum"].as_array().unwrap();
    assert!(codes.len() >= 20, "{codes:?}");
    for code in codes.iter().map(|code| code.as_str().unwrap()) {
        assert!(has(&format!("problem-{code}")), "{code}");
    }
    // Every link within the page leads somewhere, no id occurs twice, and nothing comes from another host.
    let dead = "[...document.querySelectorAll('a[href^=\"#\"]')].map((a) => a.getAttribute('href').slice(1))
      .filter((id) => !document.getElementById(id)).join()";
    assert_eq!(tab.text(dead), "");
    let ids = "(() => { const ids = [...document.querySelectorAll('[id]')].map((e) => e.id);
      return ids.filter((id, at) => ids.indexOf(id) !== at).join(); })()";
    assert_eq!(tab.text(ids), "");
    let foreign = "[...document.querySelectorAll('[href], [src]')].map((e) => e.href ?? e.src)
      .filter((url) => !url.startsWith('data:') && new URL(url).origin !== location.origin).join()";
    assert_eq!(tab.text(foreign), "");
    assert_eq!(tab.eval("document.scripts.length"), 0);
    assert_eq!(tab.text("faults.join()"), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn docs_page_is_readable_on_a_phone_and_in_the_dark() {
    let (server, _) = Server::memory().await;
    let tab = open(server.addr, "/docs", PHONE);
    let widths = tab.eval("[document.documentElement.scrollWidth, innerWidth]");
    assert_eq!(widths[1], PHONE);
    assert!(widths[0].as_u64() <= widths[1].as_u64(), "{widths}");
    let backgrounds = ["light", "dark"].map(|scheme| {
        tab.prefer(scheme);
        assert_eq!(tab.text(LOW_CONTRAST), "", "{scheme}");
        tab.text("getComputedStyle(document.body).backgroundColor")
    });
    assert_ne!(backgrounds[0], backgrounds[1]);
    assert_eq!(tab.text("faults.join()"), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn type_of_a_problem_leads_to_its_heading_with_and_without_a_path_prefix() {
    let (server, _) = Server::memory().await;
    let proxy = decoding_proxy(server.addr).await;
    for (addr, prefix) in [(server.addr, ""), (proxy, "/registry")] {
        let tab = open(addr, &format!("{prefix}/docs"), DESK);
        for (path, code) in [
            ("/api/v1/streams/none", "not_found"),
            ("/api/v1/stream/stats?id=none", "method_not_allowed"),
            ("/api/v1/streams/a%20b/stats", "method_not_allowed"),
            ("/metrics?x=1", "invalid"),
            ("/nowhere", "unknown_path"),
        ] {
            tab.eval(&format!(
                "globalThis.url = null; fetch('{prefix}{path}').then(async (response) => {{
                  url = new URL((await response.json()).type, response.url).href;
                }}); null"
            ));
            tab.until("url");
            let url = tab.text("url");
            assert_eq!(url, format!("http://{addr}{prefix}/docs#problem-{code}"), "{path}");
            // The page is open already, so only the fragment of its URL changes.
            tab.eval(&format!("location.href = {}; null", Value::from(url)));
            tab.until("document.querySelector('article:target')");
            assert!(tab.text(TARGET).starts_with(code), "{}", tab.text(TARGET));
        }
        assert_eq!(tab.text("faults.join()"), "");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dashboard_and_docs_page_link_to_each_other_behind_a_path_prefix() {
    let (server, _) = Server::memory().await;
    let proxy = decoding_proxy(server.addr).await;
    let dashboard = open(proxy, "/registry/", DESK);
    let docs = dashboard.text("document.querySelector('header a[href=docs]').href");
    assert_eq!(docs, format!("http://{proxy}/registry/docs"));
    let docs = Tab::open(&docs, DESK);
    docs.until("document.querySelectorAll('article').length > 50");
    let links = docs.text("[...document.querySelectorAll('header a')].map((link) => link.href).join(' ')");
    assert_eq!(links, format!("http://{proxy}/registry/openapi.json http://{proxy}/registry/"));
}

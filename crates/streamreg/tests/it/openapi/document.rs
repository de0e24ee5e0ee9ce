//! The document has the routes and the parameters of the server, and equals its golden file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use crate::http::kit::Server;

/// The golden file.
const GOLDEN: &str = "docs/openapi.json";

/// Returns the methods and paths of the document with their operations.
fn operations(document: &Value) -> BTreeMap<(String, String), Value> {
    let mut all = BTreeMap::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            all.insert((method.to_uppercase(), path.clone()), operation.clone());
        }
    }
    all
}

#[tokio::test]
async fn document_equals_its_golden_file() {
    let (server, _) = Server::memory().await;
    let served = server.get("/openapi.json").await;
    assert_eq!((served.status, served.header("content-type")), (200, "application/json"));
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(GOLDEN);
    if std::env::var_os("RENEW").is_some() {
        std::fs::write(&golden, &served.body).unwrap();
    }
    let golden = std::fs::read_to_string(golden).unwrap_or_default();
    let line = served.body.lines().zip(golden.lines()).position(|(served, golden)| served != golden);
    assert!(
        served.body == golden,
        "the document differs from {GOLDEN} at line {line:?}; to renew the file, run this test with RENEW=1"
    );
}

#[tokio::test]
async fn document_has_every_route_and_no_other() {
    let (server, _) = Server::memory().await;
    let document = server.get("/openapi.json").await.json();
    let index = server.get("/api/v1").await.json();
    let mut routes = BTreeSet::new();
    for route in index["routes"].as_array().unwrap() {
        for method in route["methods"].as_array().unwrap().iter().filter(|method| **method != "HEAD") {
            routes.insert((method.as_str().unwrap().to_owned(), route["path"].as_str().unwrap().to_owned()));
        }
    }
    assert!(routes.len() > 25, "{routes:?}");
    assert_eq!(operations(&document).into_keys().collect::<BTreeSet<_>>(), routes);
}

#[tokio::test]
async fn document_has_the_query_parameters_that_the_server_knows() {
    let (server, _) = Server::memory().await;
    for ((method, path), operation) in operations(&server.get("/openapi.json").await.json()) {
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        let documented: BTreeSet<_> = parameters
            .iter()
            .filter(|parameter| parameter["in"] == "query")
            .map(|parameter| parameter["name"].as_str().unwrap())
            .collect();
        // Health checks accept any query.
        if ["/healthz", "/readyz"].contains(&path.as_str()) {
            assert_eq!(documented.len(), 0);
            continue;
        }
        let id = if documented.contains("id") { "id=cam1&" } else { "" };
        let target = format!("{}?{id}unknown_one=1", path.replace("{id}", "cam1"));
        let problem = server.json(&method, &target, "{}").await.problem(400, "invalid");
        let detail = problem["detail"].as_str().unwrap();
        let known = detail.split_once("; expected ").map_or("", |(_, known)| known);
        let known: BTreeSet<_> = known.split(", ").filter(|name| !name.is_empty()).collect();
        assert_eq!(documented, known, "{method} {path}: {detail}");
    }
}

/// Calls a function for every object in a value.
fn for_each_object(value: &Value, visit: &mut impl FnMut(&serde_json::Map<String, Value>)) {
    match value {
        Value::Object(members) => {
            visit(members);
            members.values().for_each(|member| for_each_object(member, visit));
        }
        Value::Array(elements) => elements.iter().for_each(|element| for_each_object(element, visit)),
        _ => {}
    }
}

#[tokio::test]
async fn references_of_the_document_lead_somewhere_and_ids_are_unique() {
    let (server, _) = Server::memory().await;
    let document = server.get("/openapi.json").await.json();
    let mut references = BTreeSet::new();
    let mut links = BTreeSet::new();
    let mut ids = Vec::new();
    for_each_object(&document, &mut |object| {
        references.extend(object.get("$ref").and_then(Value::as_str).map(str::to_owned));
        match object.get("operationId").and_then(Value::as_str) {
            Some(id) if object.contains_key("responses") => ids.push(id.to_owned()),
            Some(id) => drop(links.insert(id.to_owned())),
            None => {}
        }
    });
    assert!(references.len() > 20 && links.len() > 10, "{references:?} {links:?}");
    for reference in &references {
        assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
    }
    let unique: BTreeSet<_> = ids.iter().cloned().collect();
    assert_eq!(unique.len(), ids.len(), "{ids:?}");
    assert!(links.is_subset(&unique), "{links:?}");
    // Every schema is used. `Event` is the content of a string, and all others are used by it or by an operation.
    for name in document["components"]["schemas"].as_object().unwrap().keys() {
        assert!(references.contains(&format!("#/components/schemas/{name}")), "{name}");
    }
}

#[tokio::test]
async fn document_and_page_need_no_token_but_an_allowed_host() {
    use std::sync::Arc;

    use stream_registry::MemoryRegistry;
    use streamreg::server::ServeOptions;

    let options = ServeOptions::default().token("w").read_token("r");
    let closed = Server::start(Arc::new(MemoryRegistry::new()), options).await;
    let (open, _) = Server::memory().await;
    for path in ["/openapi.json", "/docs", "/assets/docs.css"] {
        assert_eq!(closed.get(path).await.status, 200, "{path}");
        let rebound = format!("GET {path} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n");
        open.raw(rebound.as_bytes()).await.problem(421, "host_not_allowed");
    }
    closed.get("/api/v1/streams").await.problem(401, "unauthenticated");
}

//! Operations on the server itself: descriptions, checks and metrics.

use axum::http::Method;
use serde_json::json;
use utoipa::openapi::ContentBuilder;
use utoipa::openapi::path::OperationBuilder;
use utoipa::openapi::schema::{Object, Type};

use super::shared::page;
use super::{METRICS, Operation, SERVER, of_store, operation, with};
use crate::server::openapi::build::{integer, list, open, query, schema, string};
use crate::server::openapi::responses::{json as json_response, problems, response};

pub(super) fn all() -> Vec<Operation> {
    vec![
        (Method::GET, "/api/v1/info", info()),
        (Method::GET, "/api/v1", index()),
        (Method::GET, "/openapi.json", document()),
        (Method::GET, "/healthz", health("checkProcess", "Check the process", "Whether the process is running.", &[])),
        (Method::GET, "/readyz", health("checkStore", "Check the store", "Whether the store responds.", &[500, 503])),
        (Method::GET, "/metrics", metrics()),
        (Method::GET, "/metrics/streams", stream_metrics()),
        (Method::GET, "/api/v1/sd", discovery()),
    ]
}

fn info() -> OperationBuilder {
    let example = json!({
        "name": "streamreg", "version": "0.1.0", "store": "redis", "ttl_ms": 300_000, "read_only": false,
    });
    problems(operation("getInfo", SERVER, "Describe the server", ""), &[401])
        .response("200", json_response("A description.", schema("Info"), Some(example)))
}

fn index() -> OperationBuilder {
    problems(operation("listRoutes", SERVER, "List all routes", ""), &[401, 403])
        .response("200", json_response("The routes.", schema("Index"), None))
}

fn document() -> OperationBuilder {
    let any = open(Object::builder().schema_type(Type::Object).description(Some("An OpenAPI document.")));
    operation("getDocument", SERVER, "Read this document", "")
        .response("200", json_response("This document.", any, None))
}

fn health(id: &str, summary: &str, description: &str, statuses: &[u16]) -> OperationBuilder {
    problems(operation(id, SERVER, summary, description), statuses)
        .response("200", json_response("It works.", schema("Health"), Some(json!({ "status": "ok" }))))
}

/// Adds the two formats of metrics to an operation.
fn in_text_formats(operation: OperationBuilder) -> OperationBuilder {
    let content = |description: &str| ContentBuilder::new().schema(Some(string(description))).build();
    let text = response("The metrics.")
        .content("text/plain", content("Metrics in the text format of Prometheus."))
        .content("application/openmetrics-text", content("Metrics in the format of OpenMetrics."));
    operation.response("200", text)
}

fn metrics() -> OperationBuilder {
    let description = "The header `Accept` selects the format.";
    in_text_formats(problems(operation("getMetrics", METRICS, "Read the metrics", description), &[401, 403]))
}

fn stream_metrics() -> OperationBuilder {
    let description = "Metrics of single streams. The parameters are those of a list.";
    let operation = of_store(operation("getStreamMetrics", METRICS, "Read metrics of streams", description));
    in_text_formats(with(operation, page()))
}

fn discovery() -> OperationBuilder {
    let example = json!([{
        "targets": ["fra-1:9100"], "labels": { "__meta_streamreg_node": "fra-1", "__meta_streamreg_streams": "12" },
    }]);
    let port = query("port", "Port that is added to each name.", integer("A port.", 1, 65_535));
    of_store(operation("discoverNodes", METRICS, "List ingest nodes for Prometheus", ""))
        .parameter(port)
        .response("200", json_response("The nodes.", list("The nodes.", schema("TargetGroup")), Some(example)))
}

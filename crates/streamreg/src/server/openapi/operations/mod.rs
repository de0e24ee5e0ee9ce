//! The operations of the document.

mod events;
mod one_stream;
mod server;
mod shared;
mod streams;

use axum::http::Method;
use utoipa::openapi::path::{OperationBuilder, ParameterBuilder};

use super::responses::problems;

/// An operation with its method and path.
pub(super) type Operation = (Method, &'static str, OperationBuilder);

const STREAMS: &str = "Streams";
const ONE_STREAM: &str = "One stream";
const CHANGES: &str = "Changes";
const SERVER: &str = "Server";
const METRICS: &str = "Metrics";

/// The groups of operations, with their descriptions.
pub(super) const TAGS: [(&str, &str); 5] = [
    (STREAMS, "Lists, registrations and batches."),
    (
        ONE_STREAM,
        "Each operation exists twice: with the id in the path, and with the id in the query. Some proxies decode `%2F` in \
         a path. An id with `/` or `\\` therefore belongs in the query.",
    ),
    (CHANGES, "The change feed, and streams that have ended."),
    (SERVER, "Descriptions and checks of the server."),
    (METRICS, "Metrics and service discovery for Prometheus."),
];

/// Returns all operations, in the order of the document.
pub(super) fn all() -> Vec<Operation> {
    [streams::all(), one_stream::all(), events::all(), server::all()].into_iter().flatten().collect()
}

/// Starts an operation, with the problems that every operation can have.
fn operation(id: &str, tag: &str, summary: &str, description: &str) -> OperationBuilder {
    let operation = OperationBuilder::new().operation_id(Some(id)).tag(tag).summary(Some(summary));
    let operation = if description.is_empty() { operation } else { operation.description(Some(description)) };
    problems(operation, &[400, 421])
}

/// Adds the problems of an operation that uses the store.
fn of_store(operation: OperationBuilder) -> OperationBuilder {
    problems(operation, &[401, 403, 500, 503])
}

/// Adds parameters to an operation.
fn with(operation: OperationBuilder, parameters: Vec<ParameterBuilder>) -> OperationBuilder {
    parameters.into_iter().fold(operation, OperationBuilder::parameter)
}

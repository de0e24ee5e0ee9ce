//! The headers of responses, and the responses for problems.

use serde_json::Value;
use stream_registry::http::wire::{JSON, PROBLEM_JSON};
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::path::OperationBuilder;
use utoipa::openapi::response::ResponseBuilder;
use utoipa::openapi::{ComponentsBuilder, ContentBuilder, Header, Ref};

use super::build::{AnySchema, integer, schema, string};
use crate::server::codes;

/// The responses for problems: the status and the name of each.
const PROBLEMS: [(u16, &str); 12] = [
    (400, "InvalidRequest"),
    (401, "Unauthenticated"),
    (403, "Denied"),
    (404, "NotFound"),
    (408, "RequestTimeout"),
    (409, "Conflict"),
    (413, "TooLarge"),
    (415, "UnsupportedType"),
    (421, "HostNotAllowed"),
    (422, "Corrupt"),
    (500, "Internal"),
    (503, "Unavailable"),
];

/// Adds responses for problems to an operation, by their status.
pub(super) fn problems(operation: OperationBuilder, statuses: &[u16]) -> OperationBuilder {
    let named = PROBLEMS.iter().filter(|(status, _)| statuses.contains(status));
    named.fold(operation, |operation, (status, name)| {
        operation.response(status.to_string(), Ref::from_response_name(*name))
    })
}

/// Adds the header that every response has.
fn with_request_id(response: ResponseBuilder) -> ResponseBuilder {
    response.header_ref("X-Request-Id", Ref::new("#/components/headers/RequestId"))
}

/// Returns a response with the headers that every response has.
pub(super) fn response(description: &str) -> ResponseBuilder {
    with_request_id(ResponseBuilder::new().description(description))
}

/// Returns a response with a JSON body.
pub(super) fn json(description: &str, schema: impl Into<AnySchema>, example: Option<Value>) -> ResponseBuilder {
    response(description).content(JSON, ContentBuilder::new().schema(Some(schema.into())).example(example).build())
}

/// Returns the header with the location of a stream.
pub(super) fn location() -> Header {
    let location = string("Reference to the stream, relative to the path of the request, e.g. `streams/cam1`.");
    HeaderBuilder::new().schema(Some(location)).build()
}

pub(super) fn add_to(components: ComponentsBuilder) -> ComponentsBuilder {
    let id = string("Id of the request, which the server also logs.").min_length(Some(1)).max_length(Some(128));
    let components = components.header("RequestId", HeaderBuilder::new().schema(Some(id)).build());
    PROBLEMS.iter().fold(components, |components, (status, name)| components.response(*name, problem(*status)))
}

/// Returns the response for the problems with a status.
fn problem(status: u16) -> ResponseBuilder {
    let codes = codes::ALL.iter().filter(|code| code.status == status);
    let codes: Vec<_> = codes.map(|code| format!("`{}`: {}", code.name, code.meaning)).collect();
    let response = ResponseBuilder::new().description(codes.join("\n\n"));
    let response =
        with_request_id(response).content(PROBLEM_JSON, ContentBuilder::new().schema(Some(schema("Problem"))).build());
    let header = |schema| HeaderBuilder::new().schema(Some(schema)).build();
    match status {
        401 => response.header("WWW-Authenticate", header(string("The scheme `Bearer`."))),
        503 => response.header("Retry-After", header(integer("Seconds after which to try again.", 1, 60))),
        _ => response,
    }
}

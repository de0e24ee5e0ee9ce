//! Schemas of descriptions of the server.

use stream_registry::http::wire::MAX_STALE_MS;
use utoipa::openapi::ObjectBuilder;

use crate::server::openapi::build::{AnySchema, flag, integer, list, object, string, word};

pub(super) fn all() -> Vec<(&'static str, AnySchema)> {
    vec![("Info", info().into()), ("Health", health().into()), ("Index", index().into())]
}

/// Returns the schema of the time to live.
pub(super) fn ttl() -> ObjectBuilder {
    integer("Time to live of a stream without a heartbeat, in milliseconds.", 1, MAX_STALE_MS)
}

fn info() -> ObjectBuilder {
    object(
        "A description of the server.",
        vec![
            ("name", string("Name of the server software: `streamreg`.").into()),
            ("version", string("Version of the server.").into()),
            ("store", string("Kind of store behind the server, e.g. `memory` or `redis`.").into()),
            ("ttl_ms", ttl().into()),
            ("read_only", flag("Whether the server rejects every write.").into()),
        ],
        vec![("warning", string("A setting that endangers live streams, and what to do about it.").into())],
    )
}

fn health() -> ObjectBuilder {
    object(
        "The state of the server.",
        vec![("status", word("Always `ok`. Otherwise, the response is a problem.", ["ok"]).into())],
        vec![("warning", string("A condition that an operator should look at.").into())],
    )
}

fn index() -> ObjectBuilder {
    let methods = list("The methods of the path.", string("Method."));
    let path = string("Path, in which `{id}` stands for a percent-encoded stream id.");
    let route = object("A route.", vec![("path", path.into()), ("methods", methods.into())], vec![]);
    object("All routes.", vec![("routes", list("The routes.", route).into())], vec![])
}

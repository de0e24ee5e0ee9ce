//! Schemas of problem documents (RFC 9457).

use utoipa::openapi::ObjectBuilder;
use utoipa::openapi::schema::{KnownFormat, SchemaFormat};

use crate::server::codes;
use crate::server::openapi::build::{AnySchema, flag, integer, object, schema, string, word};

pub(super) fn all() -> Vec<(&'static str, AnySchema)> {
    let codes = codes::ALL.iter().map(|code| code.name);
    vec![
        ("ProblemCode", word("The kind of problem. Each code has a heading on the page `/docs`.", codes).into()),
        ("Problem", problem().into()),
    ]
}

fn problem() -> ObjectBuilder {
    let reference = SchemaFormat::Custom("uri-reference".to_owned());
    object(
        "A problem document (RFC 9457). Programs decide by `code`; `title` and `detail` are for people.",
        vec![
            (
                "type",
                string("Documentation of the code, relative to the URL of the request.").format(Some(reference)).into(),
            ),
            ("title", string("Reason phrase of the HTTP status.").into()),
            (
                "status",
                integer("HTTP status code.", 400, 599)
                    .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int32)))
                    .into(),
            ),
            ("code", schema("ProblemCode")),
            ("detail", string("What is wrong, and what to do about it.").into()),
            ("retryable", flag("Whether the same request may succeed later.").into()),
            ("may_have_applied", flag("Whether the change may have been applied although the request failed.").into()),
        ],
        vec![
            ("request_id", string("Id of the request, which the server also logs.").into()),
            ("operation", string("The operation that failed, e.g. `register`.").into()),
            ("stream_id", schema("StreamId")),
            ("partial", flag("True if only a part of a Redis Cluster is down.").into()),
            ("existing", schema("Stream")),
        ],
    )
}

//! One stream: `/api/v1/streams/{id}`, its heartbeat, status and statistics.
//!
//! Every write takes `?force=true` or `Stream-Epoch`. PUT and PATCH answer the record as it is
//! afterwards, or 204 on `Prefer: return=minimal`, which spares the store a read.
//!
//! The body of `…/stats` sets the four plain fields always: one that is missing is 0. The optional ones
//! keep their value where they are missing, and an empty object is refused.

use axum::Router;
use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use stream_registry::http::wire::{LabelsMode, read_patch, read_record, read_stats, read_status};
use stream_registry::registry::Operation;
use stream_registry::stream::EndReason;
use stream_registry::{Change, Error, ErrorKind, Guard, Stream, StreamId, UnregisterOptions, Write};

use super::json;
use crate::server::app::App;
use crate::server::body;
use crate::server::params::{Params, PathId, guard, operation, prefers};
use crate::server::problem::{Failure, Result};

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route(
            "/api/v1/streams/{id}",
            get(read)
                .put(replace)
                .patch(patch)
                .delete(end)
                .fallback(async || Failure::method_not_allowed("GET, HEAD, PUT, PATCH, DELETE")),
        )
        .route("/api/v1/streams/{id}/heartbeat", post(heartbeat).fallback(async || Failure::method_not_allowed("POST")))
        .route("/api/v1/streams/{id}/status", put(status).fallback(async || Failure::method_not_allowed("PUT")))
        .route("/api/v1/streams/{id}/stats", put(stats).fallback(async || Failure::method_not_allowed("PUT")))
}

/// A request about one stream, its body apart.
struct Call {
    app: App,
    id: StreamId,
    uri: Uri,
    headers: HeaderMap,
}

impl FromRequestParts<App> for Call {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        let PathId(id) = PathId::from_request_parts(parts, app).await?;
        Ok(Self { app: app.clone(), id, uri: parts.uri.clone(), headers: parts.headers.clone() })
    }
}

impl Call {
    /// The guard of a write that takes no other parameter.
    fn guard(&self) -> Result<Guard> {
        guard(&self.headers, &Params::read(&self.uri, &["force"])?)
    }

    /// Says what a value that is refused was meant for.
    fn read<T>(&self, operation: Operation, value: Result<T, Error>) -> Result<T> {
        Ok(value.map_err(|error| error.with_stream(&self.id).with_operation(operation))?)
    }

    async fn write(&self, guard: Guard, change: Change) -> Result<StatusCode> {
        let operation = change.operation();
        let write = Write { id: self.id.clone(), guard, change };
        let answers = self.app.registry.write(std::slice::from_ref(&write)).await;
        let answer = answers.and_then(|mut answers| {
            answers.pop().unwrap_or_else(|| Err(Error::new(ErrorKind::Internal, "the store gave no answer to a write")))
        });
        self.read(operation, answer)?;
        Ok(StatusCode::NO_CONTENT)
    }

    /// Makes a change, and answers with the record as it is then.
    async fn rewrite(&self, guard: Guard, change: Change) -> Result<Response> {
        let operation = change.operation();
        let done = self.write(guard, change).await?;
        if prefers(&self.headers, "return=minimal") {
            return Ok(done.into_response());
        }
        match self.app.registry.get(&self.id).await {
            Ok(stream) => Ok(json(stream.to_json())),
            // The change is done, whatever became of the stream since.
            Err(error) => Err(Failure::from(error.with_may_have_applied(true)).about(operation, Some(&self.id))),
        }
    }
}

async fn read(call: Call) -> Result<Response> {
    Params::none(&call.uri)?;
    Ok(json(call.app.registry.get(&call.id).await?.to_json()))
}

async fn heartbeat(call: Call, body: Body) -> Result<StatusCode> {
    let guard = call.guard()?;
    body::ignore(&call.app, body).await?;
    call.write(guard, Change::Heartbeat).await
}

async fn status(call: Call, body: Body) -> Result<StatusCode> {
    let guard = call.guard()?;
    let text = body::json(&call.app, &call.headers, body).await?;
    let status = call.read(Operation::Status, read_status(&text))?;
    call.write(guard, Change::Status(status)).await
}

async fn stats(call: Call, body: Body) -> Result<StatusCode> {
    let guard = call.guard()?;
    let text = body::json(&call.app, &call.headers, body).await?;
    let stats = call.read(Operation::Stats, read_stats(&text))?;
    call.write(guard, Change::Stats(stats)).await
}

async fn replace(call: Call, body: Body) -> Result<Response> {
    let guard = call.guard()?;
    let text = body::json(&call.app, &call.headers, body).await?;
    let stream = call.read(Operation::Update, record_of(&text, &call.id))?;
    call.rewrite(guard, Change::Update(Box::new(stream))).await
}

/// Reads a record whose id may be missing and otherwise is that of the path.
fn record_of(text: &str, id: &StreamId) -> Result<Stream, Error> {
    let (mut stream, has_id) = read_record(text)?;
    if has_id && stream.id != *id {
        return Err(Error::invalid("the record's id is not the one in the path; leave it out"));
    }
    stream.id = id.clone();
    Ok(stream)
}

async fn patch(call: Call, body: Body) -> Result<Response> {
    let params = Params::read(&call.uri, &["force", "labels"])?;
    let guard = guard(&call.headers, &params)?;
    let mode = match params.get("labels") {
        None | Some("merge") => LabelsMode::Merge,
        Some("replace") => LabelsMode::Replace,
        Some(_) => return Err(Failure::invalid("labels must be merge or replace")),
    };
    let text = body::merge_patch(&call.app, &call.headers, body).await?;
    let patch = call.read(Operation::Patch, read_patch(&text, mode))?;
    call.rewrite(guard, Change::Patch(Box::new(patch))).await
}

async fn end(call: Call, body: Body) -> Result<Response> {
    let params = Params::read(&call.uri, &["force", "reason"])?;
    let reason: EndReason =
        call.read(Operation::Unregister, params.get("reason").unwrap_or_default().parse().map_err(Error::from))?;
    let mut options = UnregisterOptions::default().guard(guard(&call.headers, &params)?).reason(reason);
    if let Some(operation) = operation(&call.headers)? {
        options = options.operation(operation);
    }
    body::ignore(&call.app, body).await?;
    let last = call.app.registry.unregister_with(&call.id, &options).await?;
    if prefers(&call.headers, "return=representation") {
        return Ok(json(last.to_json()));
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

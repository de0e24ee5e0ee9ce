//! One stream: `/api/v1/streams/{id}`, its heartbeat, status and statistics.
//!
//! Every write takes `?force=true` or `Stream-Epoch`. PUT and PATCH answer the record as it is
//! afterwards, or 204 on `Prefer: return=minimal`, which spares the store a read.
//!
//! The body of `…/stats` sets the four plain fields always: one that is missing is 0. The optional ones
//! keep their value where they are missing, and an empty object is refused.

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use stream_registry::http::wire::{LabelsMode, read_patch, read_record, read_stats, read_status};
use stream_registry::{Change, EndOptions, EndReason, Error, ErrorKind, Guard, Operation, Stream, StreamId, Write};

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

async fn read(State(app): State<App>, PathId(id): PathId, uri: Uri) -> Result<Response> {
    Params::none(&uri)?;
    Ok(json(app.registry.get(&id).await?.to_json()))
}

async fn heartbeat(
    State(app): State<App>,
    PathId(id): PathId,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode> {
    let guard = guard(&headers, &Params::read(&uri, &["force"])?)?;
    body::ignore(&app, body).await?;
    write(&app, id, guard, Change::Heartbeat).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn status(
    State(app): State<App>,
    PathId(id): PathId,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode> {
    let guard = guard(&headers, &Params::read(&uri, &["force"])?)?;
    let text = body::json(&app, &headers, body).await?;
    let status = read_status(&text).map_err(|error| error.with_stream(&id).with_operation(Operation::Status))?;
    write(&app, id, guard, Change::Status(status)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn stats(
    State(app): State<App>,
    PathId(id): PathId,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode> {
    let guard = guard(&headers, &Params::read(&uri, &["force"])?)?;
    let text = body::json(&app, &headers, body).await?;
    let stats = read_stats(&text).map_err(|error| error.with_stream(&id).with_operation(Operation::Stats))?;
    write(&app, id, guard, Change::Stats(stats)).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn replace(
    State(app): State<App>,
    PathId(id): PathId,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response> {
    let guard = guard(&headers, &Params::read(&uri, &["force"])?)?;
    let text = body::json(&app, &headers, body).await?;
    let stream = record_of(&text, &id).map_err(|error| error.with_stream(&id).with_operation(Operation::Update))?;
    write(&app, id.clone(), guard, Change::Replace(Box::new(stream))).await?;
    written(&app, &id, &headers, Operation::Update).await
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

async fn patch(
    State(app): State<App>,
    PathId(id): PathId,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response> {
    let params = Params::read(&uri, &["force", "labels"])?;
    let guard = guard(&headers, &params)?;
    let mode = match params.get("labels") {
        None | Some("merge") => LabelsMode::Merge,
        Some("replace") => LabelsMode::Replace,
        Some(_) => return Err(Failure::invalid("labels must be merge or replace")),
    };
    let text = body::merge_patch(&app, &headers, body).await?;
    let patch = read_patch(&text, mode).map_err(|error| error.with_stream(&id).with_operation(Operation::Patch))?;
    write(&app, id.clone(), guard, Change::Patch(Box::new(patch))).await?;
    written(&app, &id, &headers, Operation::Patch).await
}

async fn end(State(app): State<App>, PathId(id): PathId, uri: Uri, headers: HeaderMap, body: Body) -> Result<Response> {
    let params = Params::read(&uri, &["force", "reason"])?;
    let reason: EndReason = params
        .get("reason")
        .unwrap_or_default()
        .parse()
        .map_err(|error: Error| error.with_stream(&id).with_operation(Operation::Unregister))?;
    let mut options = EndOptions::default().guard(guard(&headers, &params)?).reason(reason);
    if let Some(operation) = operation(&headers)? {
        options = options.operation(operation);
    }
    body::ignore(&app, body).await?;
    let last = app.registry.end(&id, &options).await?;
    if prefers(&headers, "return=representation") {
        return Ok(json(last.to_json()));
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn write(app: &App, id: StreamId, guard: Guard, change: Change) -> Result<()> {
    let operation = change.operation();
    let write = Write { id: id.clone(), guard, change };
    let answers = app.registry.write(std::slice::from_ref(&write)).await;
    let answer = answers.and_then(|mut answers| {
        answers.pop().unwrap_or_else(|| Err(Error::new(ErrorKind::Internal, "the store gave no answer to a write")))
    });
    answer.map_err(|error| error.with_stream(&id).with_operation(operation).into())
}

/// Answers a change that is done with the record as it is now.
async fn written(app: &App, id: &StreamId, headers: &HeaderMap, operation: Operation) -> Result<Response> {
    if prefers(headers, "return=minimal") {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    match app.registry.get(id).await {
        Ok(stream) => Ok(json(stream.to_json())),
        // The change is done, whatever became of the stream since.
        Err(error) => Err(Failure::from(error.with_may_have_applied(true)).about(operation, Some(id))),
    }
}

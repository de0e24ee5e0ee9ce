//! Requests for one stream: `/api/v1/streams/{id}`, its heartbeat, its status and its statistics.
//!
//! Each request also has a path with the id in the query, such as `/api/v1/stream/heartbeat?id={id}`. An id with a
//! slash needs this path behind a proxy that decodes `%2F`.
//!
//! Every write accepts `?force=true` or `Stream-Epoch`. A PUT or PATCH of the record returns the new record. With
//! `Prefer: return=minimal`, the response is 204, and the server does not read the record from the store.
//!
//! In the body of `…/stats`, a field that is missing or null keeps its value.

use axum::Router;
use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post, put};
use stream_registry::http::wire::{LabelsMode, read_patch, read_record, read_stats, read_status};
use stream_registry::registry::Operation;
use stream_registry::stream::EndReason;
use stream_registry::{Change, Error, Guard, Stream, StreamId, UnregisterOptions};

use super::json;
use crate::server::access::Caller;
use crate::server::body;
use crate::server::params::{GivenId, Params, guard, operation, prefers};
use crate::server::problem::{Failure, Result};
use crate::server::state::App;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/api/v1/streams/{id}", record_routes())
        .route("/api/v1/stream", record_routes())
        .route("/api/v1/streams/{id}/heartbeat", heartbeat_routes())
        .route("/api/v1/stream/heartbeat", heartbeat_routes())
        .route("/api/v1/streams/{id}/status", status_routes())
        .route("/api/v1/stream/status", status_routes())
        .route("/api/v1/streams/{id}/stats", stats_routes())
        .route("/api/v1/stream/stats", stats_routes())
}

fn record_routes() -> MethodRouter<App> {
    get(read)
        .put(update)
        .patch(patch)
        .delete(unregister)
        .fallback(async || Failure::method_not_allowed("GET, HEAD, PUT, PATCH, DELETE"))
}

fn heartbeat_routes() -> MethodRouter<App> {
    post(heartbeat).fallback(async || Failure::method_not_allowed("POST"))
}

fn status_routes() -> MethodRouter<App> {
    put(status).fallback(async || Failure::method_not_allowed("PUT"))
}

fn stats_routes() -> MethodRouter<App> {
    put(stats).fallback(async || Failure::method_not_allowed("PUT"))
}

/// A request for one stream, without its body.
struct Call {
    app: App,
    caller: Caller,
    id: StreamId,
    /// Whether the id is the query parameter `id`.
    id_in_query: bool,
    uri: Uri,
    headers: HeaderMap,
}

impl FromRequestParts<App> for Call {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self> {
        let GivenId { id, in_query } = GivenId::from_request_parts(parts, app).await?;
        let Ok(caller) = Caller::from_request_parts(parts, app).await;
        // No later extractor reads the URI or the headers, so they need not be copied.
        let (uri, headers) = (std::mem::take(&mut parts.uri), std::mem::take(&mut parts.headers));
        Ok(Self { app: app.clone(), caller, id, id_in_query: in_query, uri, headers })
    }
}

impl Call {
    /// Parses the query, which may contain the `known` parameters.
    fn params(&self, known: &[&str]) -> Result<Params> {
        if self.id_in_query {
            Params::read(&self.uri, &[known, &["id"]].concat())
        } else {
            Params::read(&self.uri, known)
        }
    }

    /// Parses the guard of a write that accepts no other parameters.
    fn guard(&self) -> Result<Guard> {
        guard(&self.headers, &self.params(&["force"])?)
    }

    /// Adds the stream and the operation to an error.
    fn named<T>(&self, operation: Operation, value: Result<T, Error>) -> Result<T> {
        Ok(value.map_err(|error| error.with_stream(&self.id).with_operation(operation))?)
    }

    async fn write(&self, guard: Guard, change: Change) -> Result<StatusCode> {
        let operation = change.operation();
        self.named(operation, self.app.writer(&self.caller).write_one(&self.id, guard, change).await)?;
        Ok(StatusCode::NO_CONTENT)
    }

    /// Applies a change, and returns the new record unless the client prefers an empty response.
    async fn write_and_read(&self, guard: Guard, change: Change) -> Result<Response> {
        let operation = change.operation();
        let done = self.write(guard, change).await?;
        if prefers(&self.headers, "return=minimal") {
            return Ok(done.into_response());
        }
        match self.app.registry.get(&self.id).await {
            Ok(stream) => Ok(json(stream.to_json())),
            // The change was applied, even if the stream has been unregistered or has expired since.
            Err(error) => Err(Failure::from(error.with_may_have_applied(true)).about(operation, Some(&self.id))),
        }
    }
}

async fn read(call: Call) -> Result<Response> {
    call.params(&[])?;
    Ok(json(call.app.registry.get(&call.id).await?.to_json()))
}

async fn heartbeat(call: Call, body: Body) -> Result<StatusCode> {
    let guard = call.guard()?;
    body::ignore(&call.app, body).await?;
    call.write(guard, Change::Heartbeat).await
}

async fn status(call: Call, body: Body) -> Result<StatusCode> {
    let guard = call.guard()?;
    let status = body::json(&call.app, &call.headers, body).await?;
    let status = call.named(Operation::Status, read_status(&status))?;
    call.write(guard, Change::Status(status)).await
}

async fn stats(call: Call, body: Body) -> Result<StatusCode> {
    let guard = call.guard()?;
    let stats = body::json(&call.app, &call.headers, body).await?;
    let stats = call.named(Operation::Stats, read_stats(&stats))?;
    call.write(guard, Change::Stats(Box::new(stats))).await
}

async fn update(call: Call, body: Body) -> Result<Response> {
    let guard = call.guard()?;
    let record = body::json(&call.app, &call.headers, body).await?;
    let stream = call.named(Operation::Update, record_of(&record, &call.id))?;
    call.write_and_read(guard, Change::Update(Box::new(stream))).await
}

/// Parses a record. The record may omit the id. If it has an id, the id must match the path.
fn record_of(record: &str, id: &StreamId) -> Result<Stream, Error> {
    let (mut stream, has_id) = read_record(record)?;
    if has_id && stream.id != *id {
        return Err(Error::invalid("the id in the record differs from the path; omit it"));
    }
    stream.id = id.clone();
    Ok(stream)
}

async fn patch(call: Call, body: Body) -> Result<Response> {
    let params = call.params(&["force", "labels"])?;
    let guard = guard(&call.headers, &params)?;
    let mode = match params.get("labels") {
        None | Some("merge") => LabelsMode::Merge,
        Some("replace") => LabelsMode::Replace,
        Some(_) => return Err(Failure::invalid("labels must be merge or replace")),
    };
    let patch = body::merge_patch(&call.app, &call.headers, body).await?;
    let patch = call.named(Operation::Patch, read_patch(&patch, mode))?;
    call.write_and_read(guard, Change::Patch(Box::new(patch))).await
}

async fn unregister(call: Call, body: Body) -> Result<Response> {
    let params = call.params(&["force", "reason"])?;
    let reason: EndReason =
        call.named(Operation::Unregister, params.get("reason").unwrap_or_default().parse().map_err(Error::from))?;
    let mut options = UnregisterOptions::default().guard(guard(&call.headers, &params)?).reason(reason);
    if let Some(operation) = operation(&call.headers, &call.caller)? {
        options = options.operation(operation);
    }
    body::ignore(&call.app, body).await?;
    let last = call.app.writer(&call.caller).unregister_with(&call.id, &options).await?;
    if prefers(&call.headers, "return=representation") {
        return Ok(json(last.to_json()));
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}

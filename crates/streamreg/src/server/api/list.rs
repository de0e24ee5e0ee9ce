//! Requests for many streams: `/api/v1/streams`, `/api/v1/snapshot` and `/api/v1/summary`.

use std::num::NonZeroU32;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use axum::routing::get;
use stream_registry::http::wire::{DEFAULT_LIMIT, MAX_IDS, MAX_LIMIT, page_body, snapshot_body};
use stream_registry::query::{By, Filter, Order, Query};
use stream_registry::registry::Operation;
use stream_registry::{Cursor, Error, ErrorKind, Page, StreamId};

use super::{compress, json, register};
use crate::server::params::Params;
use crate::server::problem::{Failure, Result};
use crate::server::state::App;

/// Parameter that names one stream of a list. It can be repeated.
const ID: &str = "id";
/// Parameters that select a page of a list.
const PAGING: [&str; 3] = ["limit", "cursor", "sort"];

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route(
            "/api/v1/streams",
            get(list).post(register::register).fallback(async || Failure::method_not_allowed("GET, HEAD, POST")),
        )
        .route("/api/v1/snapshot", get(snapshot).fallback(async || Failure::method_not_allowed("GET, HEAD")))
        .route("/api/v1/summary", get(summary).fallback(async || Failure::method_not_allowed("GET, HEAD")))
}

/// Parses a request's filter, and the parameters whose names are in `others`.
fn filtered(uri: &Uri, others: &[&str]) -> Result<(Params, Filter)> {
    let known: Vec<_> = others.iter().chain(&Filter::NAMES).copied().collect();
    let params = Params::read_repeating(uri, &known, &["label", ID])?;
    let mut filter = Filter::default();
    for (name, value) in params.all().filter(|(name, _)| Filter::NAMES.contains(name)) {
        filter.set(name, value)?;
    }
    Ok((params, filter))
}

/// Parses the query of a list.
pub(super) fn query(uri: &Uri) -> Result<Query> {
    let (params, filter) = filtered(uri, &PAGING)?;
    paged(&params, filter)
}

/// Parses the order and the page of a list.
fn paged(params: &Params, filter: Filter) -> Result<Query> {
    let limit = params.number("limit", 1..=u64::from(MAX_LIMIT))?.and_then(|limit| u32::try_from(limit).ok());
    let limit = NonZeroU32::new(limit.unwrap_or(DEFAULT_LIMIT)).unwrap_or(NonZeroU32::MIN);
    let order: Order = params.get("sort").map_or(Ok(Order::default()), str::parse)?;
    let mut query = Query::default().filter(filter).order(order).limit(limit);
    if let Some(cursor) = params.get("cursor") {
        query = query.cursor(cursor.parse::<Cursor>().map_err(|invalid| {
            Error::new(ErrorKind::InvalidCursor, "invalid cursor; start again without one")
                .with_operation(Operation::Find)
                .with_source(invalid)
        })?);
    }
    Ok(query)
}

async fn list(State(app): State<App>, uri: Uri, headers: HeaderMap) -> Result<Response> {
    let [limit, cursor, sort] = PAGING;
    let (params, filter) = filtered(&uri, &[limit, cursor, sort, ID])?;
    let page = if params.get(ID).is_some() {
        let streams = app.registry.get_many(&named(&params)?).await?;
        let streams: Vec<_> = streams.into_iter().flatten().collect();
        let total = streams.len() as u64;
        Page::new(streams, None, total)
    } else {
        app.registry.find(&paged(&params, filter)?).await?
    };
    compress::json(&app, &headers, page_body(&page)).await
}

/// Parses the ids of a list that names its streams. Such a list has neither filter nor pages.
fn named(params: &Params) -> Result<Vec<StreamId>> {
    if let Some((other, _)) = params.all().find(|(name, _)| *name != ID) {
        return Err(Failure::invalid(format!("id and {other} are mutually exclusive; send one of them")));
    }
    if params.all().count() > MAX_IDS {
        return Err(Failure::invalid(format!("too many ids; send at most {MAX_IDS} in one request")));
    }
    params.all().map(|(_, id)| Ok(id.parse()?)).collect()
}

async fn snapshot(State(app): State<App>, uri: Uri, headers: HeaderMap) -> Result<Response> {
    Params::none(&uri)?;
    compress::json(&app, &headers, snapshot_body(&app.registry.snapshot().await?)).await
}

async fn summary(State(app): State<App>, uri: Uri) -> Result<Response> {
    let (params, filter) = filtered(&uri, &["by"])?;
    let by: By = params.get("by").map_or(Ok(By::default()), str::parse)?;
    let summary = app.registry.summary(&filter, by).await?;
    // Serialising strings and numbers cannot fail.
    Ok(json(serde_json::to_string(&summary).unwrap_or_default()))
}

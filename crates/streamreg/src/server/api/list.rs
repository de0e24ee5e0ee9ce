//! Many streams at once: `/api/v1/streams`, `/api/v1/snapshot` and `/api/v1/summary`.

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use axum::routing::get;
use stream_registry::http::wire::{DEFAULT_LIMIT, MAX_LIMIT, page_body, snapshot_body};
use stream_registry::{Cursor, Error, ErrorKind, Operation, Page, Stream};

use super::{json, register};
use crate::filter::Filter;
use crate::order::{Order, Position};
use crate::server::app::App;
use crate::server::live::Listed;
use crate::server::params::Params;
use crate::server::problem::{Failure, Result};
use crate::summary::{By, Summary};

/// Streams of one page of the store, where it is read whole.
const PAGE: NonZeroU32 = NonZeroU32::MIN.saturating_add(999);

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route(
            "/api/v1/streams",
            get(list).post(register::register).fallback(async || Failure::method_not_allowed("GET, HEAD, POST")),
        )
        .route("/api/v1/snapshot", get(snapshot).fallback(async || Failure::method_not_allowed("GET, HEAD")))
        .route("/api/v1/summary", get(summary).fallback(async || Failure::method_not_allowed("GET, HEAD")))
}

/// Reads the parameters of a request that takes a filter and these.
fn filtered(uri: &Uri, others: &[&str]) -> Result<(Params, Filter)> {
    let known: Vec<_> = others.iter().chain(&Filter::NAMES).copied().collect();
    let params = Params::read_repeating(uri, &known, &["label"])?;
    let mut filter = Filter::default();
    for (name, value) in params.all().filter(|(name, _)| Filter::NAMES.contains(name)) {
        filter.set(name, value).map_err(Failure::invalid)?;
    }
    Ok((params, filter))
}

async fn list(State(app): State<App>, uri: Uri) -> Result<Response> {
    let (params, filter) = filtered(&uri, &["limit", "cursor", "sort"])?;
    let limit = params.number("limit", 1..=u64::from(MAX_LIMIT))?.and_then(|limit| u32::try_from(limit).ok());
    let limit = NonZeroU32::new(limit.unwrap_or(DEFAULT_LIMIT)).unwrap_or(NonZeroU32::MIN);
    let order: Order = params.get("sort").map_or(Ok(Order::default()), str::parse).map_err(Failure::invalid)?;
    let cursor = params.get("cursor").map(str::parse::<Cursor>).transpose().map_err(|fault| {
        Error::new(ErrorKind::InvalidCursor, "this cursor is none; begin again without one")
            .with_operation(Operation::ListPage)
            .with_source(fault)
    })?;
    let after = cursor.map(|cursor| Position::read(cursor.as_str(), order)).transpose()?;
    let limit = usize::try_from(limit.get()).unwrap_or(usize::MAX);
    let (mut listed, from_view) = match app.live.listed().await {
        Some(listed) => (listed, true),
        None => (from_store(&app).await?, false),
    };
    let condition = filter.condition();
    // One more than is shown, so that a cursor leads to a stream.
    let mut window = limit.saturating_add(1);
    let mut asking = None;
    let mut live = HashSet::new();
    let mut part = loop {
        let streams = std::mem::take(&mut listed.streams).into_iter().filter(|stream| condition(stream)).collect();
        let part = order.part(streams, after.as_ref(), window);
        if !from_view || part.streams.iter().take(limit.saturating_add(1)).all(|stream| live.contains(&stream.id)) {
            break part;
        }
        if asking.is_none() {
            asking = app.live.ask(part.streams.len().min(limit));
        }
        let Some(asking) = &asking else { break part };
        let unknown = part.streams.iter().map(|stream| &stream.id).filter(|id| !live.contains(*id));
        let unknown: Vec<_> = unknown.cloned().collect();
        match asking.without_ended(&unknown).await {
            // Others come in their place. Many may have ended at once, so that twice as many are asked for.
            Some(left) => listed = left,
            None => break part,
        }
        live.extend(unknown);
        window = window.saturating_mul(2);
    };
    drop(asking);
    part.cut(order, limit);
    let next = part.next.map(|next| next.to_cursor()).transpose()?;
    let streams = part.streams.into_iter().map(Arc::unwrap_or_clone).collect();
    let mut page = Page::new(streams, next, part.total);
    page.revision = listed.revision;
    // Once a list, not once a page.
    page.unreadable = if after.is_none() { listed.unreadable } else { 0 };
    Ok(json(page_body(&page)))
}

/// Reads the store page by page: no store is held for longer than one.
async fn from_store(app: &App) -> Result<Listed> {
    let mut streams = std::collections::BTreeMap::new();
    let mut listed = Listed { streams: Vec::new(), revision: None, unreadable: 0 };
    let mut cursor = None;
    loop {
        let page = app.registry.list_page(cursor.as_ref(), PAGE).await?;
        listed.unreadable += page.unreadable;
        listed.revision = listed.revision.or(page.revision);
        // One that comes twice is taken as it was last.
        streams.extend(page.streams.into_iter().map(|stream: Stream| (stream.id.clone(), Arc::new(stream))));
        cursor = page.next;
        if cursor.is_none() {
            listed.streams = streams.into_values().collect();
            return Ok(listed);
        }
    }
}

async fn snapshot(State(app): State<App>, uri: Uri) -> Result<Response> {
    Params::none(&uri)?;
    Ok(json(snapshot_body(&app.registry.snapshot().await?)))
}

async fn summary(State(app): State<App>, uri: Uri) -> Result<Response> {
    let (params, filter) = filtered(&uri, &["by"])?;
    let by: By = params.get("by").map_or(Ok(By::default()), str::parse).map_err(Failure::invalid)?;
    let listed = match app.live.listed().await {
        Some(listed) => listed,
        None => from_store(&app).await?,
    };
    let condition = filter.condition();
    let summary = Summary::of(by, listed.streams.iter().filter(|stream| condition(stream)).map(|stream| &**stream));
    // Texts and numbers always serialise.
    Ok(json(serde_json::to_string(&summary).unwrap_or_default()))
}

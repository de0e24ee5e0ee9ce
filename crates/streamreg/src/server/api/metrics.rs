//! Metrics in the formats of Prometheus: `/metrics` and `/metrics/streams`.

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use tokio::time::timeout;

use super::list;
use crate::server::ServerTls;
use crate::server::metrics::families::Scrape;
use crate::server::metrics::streams;
use crate::server::metrics::text::{Format, Text};
use crate::server::params::Params;
use crate::server::problem::{Failure, Result};
use crate::server::state::App;

/// Maximum time to wait for the store. Prometheus gives up on a scrape after 10 s.
const PING_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/metrics", get(metrics).fallback(async || Failure::method_not_allowed("GET, HEAD")))
        .route("/metrics/streams", get(of_streams).fallback(async || Failure::method_not_allowed("GET, HEAD")))
}

/// Returns all metrics of the server. The response has status 200 even if the store is down.
async fn metrics(State(app): State<App>, uri: Uri, headers: HeaderMap) -> Result<Response> {
    Params::none(&uri)?;
    // An idle connection can fail unnoticed, so the ping comes before the metrics are read.
    let is_up = timeout(PING_TIMEOUT, app.registry.ping()).await.is_ok_and(|answer| answer.is_ok());
    let limit = app.event_reader_limit;
    let scrape = Scrape {
        metrics: &app.metrics,
        registry: app.registry.metrics(),
        store: app.registry.info().kind,
        is_up,
        event_readers: limit.saturating_sub(app.event_readers.available_permits()),
        event_reader_limit: limit,
        outdated_files: app.outdated_files().collect(),
        certificate_expiry: app.options.tls.as_ref().and_then(ServerTls::expires_at),
        webhooks: &app.options.webhooks,
        now: app.registry.now(),
    };
    let format = Format::negotiate(&headers);
    Ok(response(format, text(format, |text| scrape.write(text))))
}

/// Returns metrics of single streams. The parameters are those of a list, so the number of series is limited.
async fn of_streams(State(app): State<App>, uri: Uri, headers: HeaderMap) -> Result<Response> {
    let page = app.registry.find(&list::query(&uri)?).await?;
    let now = app.registry.now();
    let format = Format::negotiate(&headers);
    let text = text(format, |text| streams::write(text, &page, now));
    Ok(response(format, app.bodies.reserve(&text)?.body(text)))
}

fn text(format: Format, write: impl FnOnce(&mut Text)) -> String {
    let mut text = Text::new(format);
    write(&mut text);
    text.finish()
}

fn response(format: Format, body: impl Into<Body>) -> Response {
    let headers = [(CONTENT_TYPE, format.content_type()), (CACHE_CONTROL, "no-store"), (VARY, "accept")];
    (headers, body.into()).into_response()
}

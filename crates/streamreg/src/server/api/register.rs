//! Registering: `POST /api/v1/streams`.

use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::Response;
use stream_registry::http::wire::{MAX_STALE_MS, read_record, read_recovered, registered_body, stream_path};
use stream_registry::registry::Operation;
use stream_registry::{Error, OnConflict, Outcome, RegisterOptions};

use super::json;
use crate::server::app::App;
use crate::server::body;
use crate::server::params::{Params, epoch, operation};
use crate::server::problem::{Failure, Result};

/// Registers the stream of the body, under a generated id where it has none.
///
/// A generated id clashes with nothing, so that `on_conflict` means nothing then.
pub(super) async fn register(State(app): State<App>, uri: Uri, headers: HeaderMap, body: Body) -> Result<Response> {
    register_given(&app, &uri, &headers, body).await.map_err(|failure| failure.about(Operation::Register, None))
}

async fn register_given(app: &App, uri: &Uri, headers: &HeaderMap, body: Body) -> Result<Response> {
    let options = options(uri, headers)?;
    let text = body::json(app, headers, body).await?;
    let (stream, has_id) = if options.recover.is_some() { read_recovered(&text)? } else { read_record(&text)? };
    let registered = if has_id {
        app.registry.register_with(&stream, &options).await?
    } else {
        if let OnConflict::TakeOverIfStale(_) = options.on_conflict {
            // The policy would be dropped unseen otherwise.
            return Err(Error::unsupported("take_over_if_stale needs an id; give one, or leave the policy out").into());
        }
        app.registry.register_new(&stream, &options).await?
    };
    let mut response = json(registered_body(&registered));
    if registered.outcome == Outcome::Created {
        *response.status_mut() = StatusCode::CREATED;
    }
    // A percent-encoded path always is a header value.
    if let Ok(location) = HeaderValue::from_str(&stream_path(registered.stream.id.as_str())) {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

fn options(uri: &Uri, headers: &HeaderMap) -> Result<RegisterOptions> {
    let params = Params::read(uri, &["on_conflict", "stale_ms", "lease", "recover"])?;
    let stale = params.number("stale_ms", 0..=MAX_STALE_MS)?.map(Duration::from_millis);
    let policy = match (params.get("on_conflict"), stale) {
        (Some("take_over_if_stale"), Some(stale)) => OnConflict::TakeOverIfStale(stale),
        (Some("take_over_if_stale"), None) => {
            return Err(Failure::invalid("on_conflict=take_over_if_stale needs stale_ms, in milliseconds"));
        }
        (_, Some(_)) => return Err(Failure::invalid("stale_ms goes with on_conflict=take_over_if_stale only")),
        (None | Some("reject"), None) => OnConflict::Reject,
        (Some("create_only"), None) => OnConflict::CreateOnly,
        (Some("take_over"), None) => OnConflict::TakeOver,
        (Some(_), None) => {
            return Err(Failure::invalid("on_conflict must be reject, create_only, take_over or take_over_if_stale"));
        }
    };
    let mut options = RegisterOptions::default().on_conflict(policy).lease(params.flag("lease")?);
    match (params.flag("recover")?, epoch(headers)?) {
        (false, None) => {}
        (true, Some(epoch)) => options = options.recover(epoch),
        (true, None) => return Err(Failure::invalid("recover=true needs the lease's epoch in Stream-Epoch")),
        (false, Some(_)) => return Err(Failure::invalid("Stream-Epoch goes with recover=true only; leave it out")),
    }
    if let Some(operation) = operation(headers)? {
        options = options.operation(operation);
    }
    Ok(options)
}

//! Registrations: `POST /api/v1/streams`.

use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::Response;
use stream_registry::http::wire::{MAX_STALE_MS, read_record, read_recovered, registered_body, stream_path};
use stream_registry::registry::Operation;
use stream_registry::{Error, OnConflict, Outcome, RegisterOptions, SameSource};

use super::json;
use crate::server::access::Caller;
use crate::server::body;
use crate::server::params::{Params, epoch, operation};
use crate::server::problem::{Failure, Result};
use crate::server::state::App;

/// Registers the stream in the body. Generates an id if the stream has none.
///
/// A generated id never conflicts with a live stream, so `on_conflict` has no effect on it.
pub(super) async fn register(
    State(app): State<App>,
    caller: Caller,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response> {
    try_register(&app, &caller, &uri, &headers, body).await.map_err(|failure| failure.about(Operation::Register, None))
}

async fn try_register(app: &App, caller: &Caller, uri: &Uri, headers: &HeaderMap, body: Body) -> Result<Response> {
    let options = options(uri, headers, caller)?;
    let record = body::json(app, headers, body).await?;
    let (stream, has_id) = if options.recover.is_some() { read_recovered(&record)? } else { read_record(&record)? };
    let registered = if has_id {
        app.writer(caller).register_with(&stream, &options).await?
    } else {
        if let OnConflict::TakeOverIfStale(_) = options.on_conflict {
            // Reject this policy, because it would silently have no effect on a generated id.
            return Err(Error::unsupported("take_over_if_stale needs an id; add one or omit on_conflict").into());
        }
        app.writer(caller).register_new(&stream, &options).await?
    };
    let mut response = json(registered_body(&registered));
    if registered.outcome == Outcome::Created {
        *response.status_mut() = StatusCode::CREATED;
    }
    // The reference is relative to the path of the request (RFC 9110, section 10.2.2), so it stays valid if a proxy
    // adds a prefix to the path. A percent-encoded path is always a valid header value.
    let path = stream_path(registered.stream.id.as_str(), "");
    if let Ok(location) = HeaderValue::from_str(path.trim_start_matches("/api/v1/")) {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

fn options(uri: &Uri, headers: &HeaderMap, caller: &Caller) -> Result<RegisterOptions> {
    let params = Params::read(uri, &["on_conflict", "stale_ms", "same_source", "lease", "recover"])?;
    let stale = params.number("stale_ms", 0..=MAX_STALE_MS)?.map(Duration::from_millis);
    let policy = match (params.get("on_conflict"), stale) {
        (Some("take_over_if_stale"), Some(stale)) => OnConflict::TakeOverIfStale(stale),
        (Some("take_over_if_stale"), None) => {
            return Err(Failure::invalid("missing stale_ms; on_conflict=take_over_if_stale needs it, in milliseconds"));
        }
        (_, Some(_)) => return Err(Failure::invalid("unexpected stale_ms; it needs on_conflict=take_over_if_stale")),
        (None | Some("reject"), None) => OnConflict::Reject,
        (Some("create_only"), None) => OnConflict::CreateOnly,
        (Some("take_over"), None) => OnConflict::TakeOver,
        (Some(_), None) => {
            return Err(Failure::invalid("on_conflict must be reject, create_only, take_over or take_over_if_stale"));
        }
    };
    let mut options = RegisterOptions::default().on_conflict(policy);
    options.same_source = match params.get("same_source") {
        None | Some("address") => SameSource::Address,
        Some("host") => SameSource::Host,
        Some("node") => SameSource::Node,
        Some(_) => return Err(Failure::invalid("same_source must be address, host or node")),
    };
    options.lease = params.flag("lease")?;
    match (params.flag("recover")?, epoch(headers)?) {
        (false, None) => {}
        (true, Some(epoch)) => options = options.recover(epoch),
        (true, None) => {
            return Err(Failure::invalid("missing Stream-Epoch; recover=true needs the epoch of the lease"));
        }
        (false, Some(_)) => return Err(Failure::invalid("unexpected Stream-Epoch; it needs recover=true")),
    }
    if let Some(operation) = operation(headers, caller)? {
        options = options.operation(operation);
    }
    Ok(options)
}

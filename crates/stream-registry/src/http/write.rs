//! Requests that write to a server.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::{FutureExt as _, StreamExt as _, stream};
use hyper::Method;
use hyper::header::HeaderName;

use super::transport::{Call, LIST_LIMIT, Transport};
use super::wire::{self, JSON, LabelsMode, MERGE_PATCH_JSON};
use crate::error::{Error, ErrorKind, Result};
use crate::registry::{Change, Guard, Write, rules};

/// Maximum number of requests that one call of [`send`] has in flight.
const CONCURRENT_WRITES: usize = 16;

pub(super) const STREAM_EPOCH: HeaderName = HeaderName::from_static(wire::STREAM_EPOCH);
pub(super) const PREFER: HeaderName = HeaderName::from_static("prefer");

/// Sends writes and returns their results in order. Writes to one stream are sent one after the other.
pub(super) async fn send(transport: &Transport, writes: &[Write]) -> Vec<Result<()>> {
    let mut group_of = HashMap::new();
    let mut groups: Vec<Vec<(usize, &Write)>> = Vec::new();
    for (at, write) in writes.iter().enumerate() {
        let group = *group_of.entry(&write.id).or_insert(groups.len());
        if group == groups.len() {
            groups.push(Vec::new());
        }
        groups[group].push((at, write));
    }
    // If a stream has only one write, the write can be batched. Several writes to one stream are sent in order.
    let (batched, mut ordered): (Vec<_>, Vec<_>) = groups.into_iter().partition(|group| match &group[..] {
        [(_, write)] => wire::can_be_batched(write) && rules::check_write(write).is_ok(),
        _ => false,
    });
    let mut batched: Vec<_> = batched.into_iter().flatten().collect();
    if batched.len() == 1 {
        ordered.push(std::mem::take(&mut batched));
    }
    let down = AtomicBool::new(false);
    let batches = wire::batches(batched).into_iter().map(|batch| write_batch(transport, &down, batch).boxed());
    let in_order = ordered.into_iter().map(|group| write_in_order(transport, &down, group).boxed());
    // The requests are collected first, because the compiler cannot prove that a lazy stream of requests is `Send`.
    let requests: Vec<_> = batches.chain(in_order).collect();
    let mut results: Vec<_> = stream::iter(requests).buffer_unordered(CONCURRENT_WRITES).concat().await;
    results.sort_unstable_by_key(|(at, _)| *at);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Adds parameters to a path that may already have a query.
pub(super) fn with_query(path: String, query: &str) -> String {
    let separator = if path.contains('?') { '&' } else { '?' };
    if query.is_empty() { path } else { format!("{path}{separator}{query}") }
}

/// Creates a request that carries the guard of a write.
pub(super) fn guarded(method: Method, path: String, mut query: Vec<String>, guard: &Guard) -> Call {
    if *guard == Guard::Force {
        query.push("force=true".to_owned());
    }
    let call = Call::new(method, with_query(path, &query.join("&")));
    match guard {
        Guard::Holder(epoch) => call.header(STREAM_EPOCH, epoch.as_str()),
        Guard::None | Guard::Force => call,
    }
}

fn call_of(write: &Write) -> Call {
    let path = |suffix| wire::stream_path(write.id.as_str(), suffix);
    let guard = &write.guard;
    match &write.change {
        Change::Heartbeat => guarded(Method::POST, path("/heartbeat"), Vec::new(), guard),
        Change::Status(status) => {
            guarded(Method::PUT, path("/status"), Vec::new(), guard).body(JSON, wire::status_body(status))
        }
        Change::Stats(stats) => {
            guarded(Method::PUT, path("/stats"), Vec::new(), guard).body(JSON, wire::stats_body(stats))
        }
        Change::Patch(patch) => {
            let (body, labels) = wire::patch_body(patch);
            let query = match labels {
                LabelsMode::Merge => Vec::new(),
                LabelsMode::Replace => vec!["labels=replace".to_owned()],
            };
            guarded(Method::PATCH, path(""), query, guard).body(MERGE_PATCH_JSON, body).header(PREFER, "return=minimal")
        }
        Change::Update(stream) => guarded(Method::PUT, path(""), Vec::new(), guard)
            .body(JSON, stream.to_json())
            .header(PREFER, "return=minimal"),
    }
}

/// Returns whether an error shows that the server is down.
///
/// A timeout means that the server, or the store behind it, is down. A retryable error with a source comes from the
/// connection. The server reports any other error, such as full memory. Such an error concerns only one write.
fn is_down(error: &Error) -> bool {
    error.kind() == ErrorKind::Timeout || (error.is_retryable() && std::error::Error::source(error).is_some())
}

/// Creates the error for a write that was not sent because the server is down.
///
/// If every write were sent, waiting for all timeouts would take minutes. Also, a request without a response may still
/// reach the server, and a later write to the same stream must not overtake this request.
fn not_sent() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "not sent, because the server did not respond to another write of this call; try again",
    )
}

/// Sends a batch of heartbeats and statistics of different streams.
async fn write_batch(
    transport: &Transport,
    down: &AtomicBool,
    (body, writes): wire::Batch<'_>,
) -> Vec<(usize, Result<()>)> {
    let response = if down.load(Ordering::Relaxed) {
        Err(not_sent())
    } else {
        let call = Call::new(Method::POST, wire::HEARTBEATS).body(JSON, body).limit(LIST_LIMIT);
        // If the response is unreadable, the server may still have applied the batch.
        let response = transport.send(call).await;
        response.and_then(|json| {
            wire::read_batch_response(&json, &writes).map_err(|error| error.with_may_have_applied(true))
        })
    };
    if response.as_ref().is_err_and(is_down) {
        down.store(true, Ordering::Relaxed);
    }
    let result_of = |write: &Write| match &response {
        Err(error) => Err(error.clone()),
        Ok(errors) => errors.get(write.id.as_str()).cloned().map_or(Ok(()), Err),
    };
    let named = |write: &Write| result_of(write).map_err(|error| rules::name_write(error, write));
    writes.into_iter().map(|(at, write)| (at, named(write))).collect()
}

/// Sends the writes to one stream in order.
async fn write_in_order(
    transport: &Transport,
    down: &AtomicBool,
    writes: Vec<(usize, &Write)>,
) -> Vec<(usize, Result<()>)> {
    let mut results = Vec::with_capacity(writes.len());
    for (at, write) in writes {
        let result = match rules::check_write(write) {
            Err(error) => Err(error),
            Ok(()) if down.load(Ordering::Relaxed) => Err(not_sent()),
            Ok(()) => transport.send(call_of(write)).await.map(|_| ()),
        };
        if result.as_ref().is_err_and(is_down) {
            down.store(true, Ordering::Relaxed);
        }
        results.push((at, result.map_err(|error| rules::name_write(error, write))));
    }
    results
}

//! Every metric of the server, in the order of `/metrics`.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use stream_registry::http::wire::RejectedKind;
use stream_registry::metrics::{CallMetrics, MetricsSnapshot, ResultCounts, StoreMetrics, ViewMetrics};
use stream_registry::{StreamStatus, StreamType, Timestamp};

use super::Metrics;
use super::text::{Family, Text};
use crate::server::reloaded::ReloadedFile;
use crate::webhook::Figures;

const BUILD_INFO: Family =
    Family::gauge("streamreg_build_info", "Version of the program and kind of its store; always 1.");
const STARTED: Family = Family::gauge("process_start_time_seconds", "When the process started, in seconds since 1970.");
const STREAMS: Family = Family::gauge("streamreg_streams", "Live streams of the whole registry.");
const CHANGES: Family =
    Family::counter("streamreg_changes_total", "Events of live streams in the change feed of the whole registry.");
const ENDED: Family = Family::counter("streamreg_ended_total", "Streams of the whole registry that have ended.");
const REGISTRATIONS: Family =
    Family::counter("streamreg_registrations_total", "Registrations through this server by result.");
const WRITES: Family = Family::counter(
    "streamreg_writes_total",
    "Heartbeats and other writes to single streams through this server by result, alone or in batches.",
);
const DURATIONS: Family =
    Family::histogram("streamreg_operation_duration_seconds", "Duration of calls from this server to its store.");
const ERRORS: Family = Family::counter(
    "streamreg_operation_errors_total",
    "Calls from this server to its store that failed or were cancelled.",
);
const STORE_UP: Family = Family::gauge("streamreg_store_up", "Whether a server of the store responds: 1 or 0.");
const RECONNECTS: Family =
    Family::counter("streamreg_store_reconnects_total", "Connections to the store that replaced a lost one.");
const FEED_LAG: Family = Family::gauge(
    "streamreg_feed_lag_seconds",
    "How much later than written the latest events arrived, or the time for which the feed could not be read.",
);
const SWEEP_LAG: Family =
    Family::gauge("streamreg_sweep_lag_seconds", "Time since this server last finished a check for expired streams.");
const VIEW_AGE: Family = Family::gauge(
    "streamreg_view_age_seconds",
    "Time since the local view was last known to be current; +Inf until it is complete.",
);
const RESYNCS: Family = Family::counter(
    "streamreg_view_resyncs_total",
    "How many times the local view loaded all streams, or those of one shard, again, because events may have been lost.",
);
const RECONCILIATIONS: Family =
    Family::counter("streamreg_view_reconciliations_total", "Completed comparisons of the local view with the store.");
const CORRECTIONS: Family = Family::counter(
    "streamreg_view_corrections_total",
    "Streams that these comparisons corrected: another program wrote them without an event.",
);
const UNREADABLE: Family = Family::gauge(
    "streamreg_unreadable_records",
    "Records in the store that cannot be decoded, as of the last load or comparison.",
);
const SKIPPED: Family = Family::counter(
    "streamreg_skipped_records_total",
    "Records that lists skipped because they cannot be decoded; each list counts a record again.",
);
const PRUNED: Family = Family::counter(
    "streamreg_pruned_ids_total",
    "Ids without a record that were removed from the index of the store.",
);
const PRUNE_FAILURES: Family =
    Family::counter("streamreg_prune_failures_total", "Failed attempts to remove ids without a record from the index.");
const READERS: Family = Family::gauge("streamreg_event_readers", "Connected readers of /api/v1/events.");
const READER_LIMIT: Family = Family::gauge("streamreg_event_readers_limit", "Largest number of event readers.");
const DROPPED_READERS: Family = Family::counter(
    "streamreg_event_readers_dropped_total",
    "Event readers that were disconnected because they did not read their events.",
);
const REJECTED: Family =
    Family::counter("streamreg_rejected_batch_items_total", "Invalid items of POST /api/v1/heartbeats.");
const RELOAD_FAILED: Family = Family::gauge(
    "streamreg_reload_failed",
    "Whether a changed file is unusable, so that its earlier content still applies: 1 or 0.",
);
const CERTIFICATE_EXPIRY: Family = Family::gauge(
    "streamreg_tls_certificate_expiry_timestamp_seconds",
    "When the certificate of the server expires, in seconds since 1970.",
);
const REQUESTS: Family = Family::counter("streamreg_http_requests_total", "Answered HTTP requests.");
const REQUEST_DURATIONS: Family = Family::histogram(
    "streamreg_http_request_duration_seconds",
    "Time from receiving the headers of a request to the headers of its response.",
);

const WEBHOOK_DELIVERIES: Family =
    Family::counter("streamreg_webhook_deliveries_total", "Events and failed attempts of webhooks by result.");
const WEBHOOK_STATUS: Family = Family::gauge(
    "streamreg_webhook_last_status",
    "Status of the last response to a webhook; 0 if the last attempt got no response.",
);
const WEBHOOK_PENDING: Family = Family::gauge(
    "streamreg_webhook_pending_events",
    "Events that a webhook has read from the change feed and not delivered yet, at most 1000.",
);
const WEBHOOK_LAG: Family =
    Family::gauge("streamreg_webhook_lag_seconds", "Age of the oldest undelivered event of a webhook; 0 without one.");

/// Types that are values of the label `type`; those of the adapters for media servers, and some more. All other types
/// are `other`, because publishers choose the type, and there must not be a series for each of their choices.
const TYPES: [&str; 20] = [
    "srt", "rtp", "rtmp", "rtsp", "webrtc", "whip", "whep", "hls", "dash", "mpegts", "ts", "udp", "http", "http-flv",
    "flv", "fmp4", "icecast", "rist", "ndi", "gb28181",
];
const OTHER: &str = "other";

/// Everything that a scrape reads.
pub(in crate::server) struct Scrape<'a> {
    pub(in crate::server) metrics: &'a Metrics,
    pub(in crate::server) registry: MetricsSnapshot,
    /// The kind of the store.
    pub(in crate::server) store: &'static str,
    /// Whether the store responds.
    pub(in crate::server) is_up: bool,
    pub(in crate::server) event_readers: usize,
    pub(in crate::server) event_reader_limit: usize,
    /// The kinds of the changed files that are unusable.
    pub(in crate::server) outdated_files: Vec<ReloadedFile>,
    /// When the certificate of the server expires, in seconds since 1970.
    pub(in crate::server) certificate_expiry: Option<u64>,
    pub(in crate::server) webhooks: &'a [Arc<Figures>],
    /// The current time of the store.
    pub(in crate::server) now: Timestamp,
}

impl Scrape<'_> {
    /// Writes all metrics. A metric without samples still has its description.
    pub(in crate::server) fn write(&self, text: &mut Text) {
        text.begin(&BUILD_INFO);
        text.sample(&BUILD_INFO, &[("version", env!("CARGO_PKG_VERSION")), ("store", self.store)], 1);
        text.single(&STARTED, self.metrics.started);
        let view = self.registry.view.clone().unwrap_or_default();
        write_registry(text, &view);
        write_calls(text, self.registry.calls.as_ref().unwrap_or(&CallMetrics::default()), self.store);
        self.write_store(text, &self.registry.store);
        write_view(text, &view);
        text.single(&SKIPPED, self.registry.store.skipped_records);
        text.single(&PRUNED, self.registry.store.pruned);
        text.single(&PRUNE_FAILURES, self.registry.store.prune_failures);
        self.write_server(text);
        self.write_webhooks(text);
    }

    fn write_webhooks(&self, text: &mut Text) {
        text.begin(&WEBHOOK_DELIVERIES);
        for webhook in self.webhooks {
            for (result, count) in webhook.results() {
                text.sample(&WEBHOOK_DELIVERIES, &[("webhook", webhook.name()), ("result", result)], count);
            }
        }
        self.write_of_webhooks(text, &WEBHOOK_STATUS, Figures::last_status);
        self.write_of_webhooks(text, &WEBHOOK_PENDING, |webhook| Some(webhook.pending()));
        let lag = |webhook: &Figures| webhook.oldest().map_or(0.0, |oldest| self.now.since(oldest).as_secs_f64());
        self.write_of_webhooks(text, &WEBHOOK_LAG, |webhook| Some(lag(webhook)));
    }

    /// Writes a metric with one sample per webhook.
    fn write_of_webhooks<T: Display>(&self, text: &mut Text, family: &Family, value: impl Fn(&Figures) -> Option<T>) {
        text.begin(family);
        for webhook in self.webhooks {
            if let Some(value) = value(webhook) {
                text.sample(family, &[("webhook", webhook.name())], value);
            }
        }
    }

    fn write_store(&self, text: &mut Text, store: &StoreMetrics) {
        text.begin(&STORE_UP);
        for node in &store.nodes {
            text.sample(&STORE_UP, &[("node", &node.node)], u8::from(node.up));
        }
        if store.nodes.is_empty() {
            text.sample(&STORE_UP, &[("node", self.store)], u8::from(self.is_up));
        }
        text.single(&RECONNECTS, store.reconnects);
        text.begin(&FEED_LAG);
        for feed in &store.feeds {
            text.sample(&FEED_LAG, &[("shard", &feed.shard.to_string())], feed.lag.as_secs_f64());
        }
        text.begin(&SWEEP_LAG);
        if let Some(lag) = store.sweep_lag {
            text.sample(&SWEEP_LAG, &[], lag.as_secs_f64());
        }
    }

    fn write_server(&self, text: &mut Text) {
        text.single(&READERS, self.event_readers);
        text.single(&READER_LIMIT, self.event_reader_limit);
        text.single(&DROPPED_READERS, self.metrics.dropped_readers.load(Ordering::Relaxed));
        text.begin(&REJECTED);
        for (kind, count) in RejectedKind::ALL.iter().zip(&self.metrics.rejected) {
            text.sample(&REJECTED, &[("kind", kind.as_str())], count.load(Ordering::Relaxed));
        }
        text.begin(&RELOAD_FAILED);
        for file in ReloadedFile::ALL {
            let is_outdated = self.outdated_files.contains(&file);
            text.sample(&RELOAD_FAILED, &[("file", file.as_str())], u8::from(is_outdated));
        }
        text.begin(&CERTIFICATE_EXPIRY);
        if let Some(expiry) = self.certificate_expiry {
            text.sample(&CERTIFICATE_EXPIRY, &[], expiry);
        }
        text.begin(&REQUESTS);
        for request in self.metrics.requests.counts() {
            let code = request.code.to_string();
            let labels = [("method", request.method), ("route", request.route), ("code", code.as_str())];
            text.sample(&REQUESTS, &labels, request.count);
        }
        text.begin(&REQUEST_DURATIONS);
        for (route, durations) in self.metrics.requests.durations() {
            text.histogram(&REQUEST_DURATIONS, &[("route", route)], &durations);
        }
    }
}

/// Writes what is the same for every server of a registry.
fn write_registry(text: &mut Text, view: &ViewMetrics) {
    text.begin(&STREAMS);
    // Before the view is complete, the number of streams is unknown.
    if view.age.is_some() {
        for ((status, kind), count) in streams(view) {
            text.sample(&STREAMS, &[("status", status), ("type", kind)], count);
        }
    }
    text.begin(&CHANGES);
    let events = &view.events;
    for (kind, count) in [
        ("registered", events.registered),
        ("updated", events.updated),
        ("status", events.status),
        ("patched", events.patched),
        ("taken_over", events.taken_over),
    ] {
        text.sample(&CHANGES, &[("kind", kind)], count);
    }
    text.begin(&ENDED);
    text.sample(&ENDED, &[("reason", "unregistered")], events.unregistered);
    text.sample(&ENDED, &[("reason", "expired")], events.expired);
}

/// Returns the number of streams by status and type. Includes zeros for the types of the library, so that the metric is
/// present in an empty registry.
fn streams(view: &ViewMetrics) -> BTreeMap<(&str, &str), u64> {
    let statuses = ["connecting", "active", "paused", "error", "closed"];
    let zeros =
        statuses.into_iter().flat_map(|status| [("srt", 0), ("rtp", 0)].map(|(kind, zero)| ((status, kind), zero)));
    let mut counts: BTreeMap<_, _> = zeros.collect();
    for stream in &view.streams {
        let status = if matches!(stream.status, StreamStatus::Other(_)) { OTHER } else { stream.status.as_str() };
        *counts.entry((status, type_label(&stream.kind))).or_default() += stream.count;
    }
    counts
}

/// Returns a type as the value of a label.
fn type_label(kind: &StreamType) -> &'static str {
    TYPES.into_iter().find(|known| *known == kind.as_str()).unwrap_or(OTHER)
}

fn write_calls(text: &mut Text, calls: &CallMetrics, store: &str) {
    text.begin(&REGISTRATIONS);
    let registrations = &calls.registrations;
    for (result, count) in [
        ("created", registrations.created),
        ("renewed", registrations.renewed),
        ("taken_over", registrations.taken_over),
        ("recovered", registrations.recovered),
        ("rejected", registrations.rejected),
        ("failed", registrations.failed),
    ] {
        text.sample(&REGISTRATIONS, &[("result", result)], count);
    }
    text.begin(&WRITES);
    for writes in &calls.writes {
        let change = writes.operation.as_str();
        text.sample(&WRITES, &[("change", change), ("result", "ok")], writes.results.ok);
        for (result, count) in failures(&writes.results) {
            text.sample(&WRITES, &[("change", change), ("result", result)], count);
        }
    }
    text.begin(&DURATIONS);
    for calls in &calls.operations {
        text.histogram(&DURATIONS, &[("op", calls.operation.as_str()), ("store", store)], &calls.durations);
    }
    text.begin(&ERRORS);
    for calls in &calls.operations {
        for (error, count) in failures(&calls.results) {
            text.sample(&ERRORS, &[("op", calls.operation.as_str()), ("error", error)], count);
        }
    }
}

fn failures(results: &ResultCounts) -> impl Iterator<Item = (&'static str, u64)> {
    let cancelled = (results.cancelled > 0).then_some(("cancelled", results.cancelled));
    results.errors.iter().map(|(kind, count)| (kind.as_str(), *count)).chain(cancelled)
}

fn write_view(text: &mut Text, view: &ViewMetrics) {
    match view.age {
        Some(age) => text.single(&VIEW_AGE, age.as_secs_f64()),
        None => text.single(&VIEW_AGE, "+Inf"),
    }
    text.single(&RESYNCS, view.resyncs);
    text.single(&RECONCILIATIONS, view.reconciliations);
    text.single(&CORRECTIONS, view.corrections);
    text.single(&UNREADABLE, view.unreadable);
}

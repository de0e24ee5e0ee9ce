//! Tests that the conformance suite detects faulty stores. Each test adds one fault to the mock store.

#![cfg(feature = "conformance")]
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use stream_registry::conformance::{Instance, Subject, run_matching};
use stream_registry::mock::MockRegistry;
use stream_registry::query::{By, Ended, Filter, Query, Summary};
use stream_registry::watch::{Ending, Event, Watch, WatchFrom};
use stream_registry::{
    Change, Cursor, Error, ErrorKind, Guard, Outcome, Page, RegisterOptions, Registered, Registry, Result, Snapshot,
    Stream, StreamId, UnregisterOptions, Write, forward_registry,
};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    HeartbeatDoesNotRenew,
    GetRenews,
    UnknownFieldsLost,
    RenewalChangesCreatedAt,
    NotFoundIsUnavailable,
    RegisterIsNotAtomic,
    UnregisterAlwaysSucceeds,
    DoublesForCounters,
    MissingStatisticsReset,
    OperationIdsIgnored,
    GuardsIgnored,
    BatchResultsReversed,
    BatchStopsAtFailure,
    ListIsNotAtomic,
    PagesSkipLastStream,
    InvalidCursorAccepted,
    ErrorsWithoutStream,
    UpdateCreates,
    CloseDoesNothing,
    ReadModifyWrite,
    ClockOfCaller,
    MergeReplacesLabels,
    NoLimitOnBatches,
    NodeNotCompared,
    AlreadyExistsWithoutRecord,
    FeedEmitsHeartbeats,
    FeedSkipsEvents,
    FeedRepeatsEvents,
    FeedSwapsEvents,
    FeedIgnoresRevision,
    FeedAcceptsAnyRevision,
    FeedEmitsOldRecord,
    FeedOmitsEnding,
    SnapshotRevisionIsOld,
    EpochOfCaller,
    RecoveryIsTakeOver,
    RecoveryIsRegister,
    RecoveryIgnoresGreaterEpochs,
    TakeOverKeepsEpoch,
    StalenessIgnored,
    SearchIsCaseSensitive,
    FindIgnoresNode,
    FindSortsAscendingOnly,
    TotalCountsThePage,
    FindSkipsLastStream,
    AnyQueryCursorAccepted,
    GetManyOmitsUnknown,
    SummaryOmitsMissingNode,
    HistoryOldestFirst,
    HistoryIgnoresLimit,
    HistoryOmitsExpired,
}

#[derive(Debug)]
struct FaultyRegistry {
    store: Arc<MockRegistry>,
    fault: Fault,
}

impl FaultyRegistry {
    fn has(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    fn alter_error<T>(&self, answer: Result<T>) -> Result<T> {
        answer.map_err(|error| match self.fault {
            Fault::NotFoundIsUnavailable if error.kind() == ErrorKind::NotFound => {
                Error::new(ErrorKind::Unavailable, error.message()).with_stream(error.stream_id().unwrap())
            }
            Fault::ErrorsWithoutStream => {
                let plain = Error::new(error.kind(), error.message());
                let plain = error.operation().map_or(plain.clone(), |operation| plain.with_operation(operation));
                error.existing().map_or(plain.clone(), |existing| plain.with_existing(existing.clone()))
            }
            Fault::AlreadyExistsWithoutRecord if error.kind() == ErrorKind::AlreadyExists => {
                let plain = Error::new(error.kind(), error.message()).with_operation(error.operation().unwrap());
                plain.with_stream(error.stream_id().unwrap())
            }
            _ => error,
        })
    }

    /// Stores the registered record with the given epoch, and returns this record.
    fn put_epoch(&self, answer: Registered, epoch: Option<stream_registry::Epoch>) -> Result<Registered> {
        let json = answer.stream.to_json();
        let json = match epoch {
            Some(epoch) => format!("{},\"epoch\":\"{epoch}\"}}", json.trim_end_matches('}')),
            None => json,
        };
        self.store.put_stored(&answer.stream.id, &json)?;
        Ok(Registered::new(Stream::from_stored(&answer.stream.id, &json)?, answer.outcome, answer.ttl))
    }

    async fn write_each(&self, writes: &[Write]) -> Result<Vec<Result<()>>> {
        let mut answers = Vec::new();
        for write in writes {
            let mut write = write.clone();
            match (self.fault, &mut write.change) {
                (Fault::HeartbeatDoesNotRenew, Change::Heartbeat) => {
                    answers.push(self.store.get(&write.id).await.map(drop));
                    continue;
                }
                (Fault::UpdateCreates, Change::Update(record)) if self.store.get(&write.id).await.is_err() => {
                    answers.push(self.store.register(record).await.map(drop));
                    continue;
                }
                (Fault::ReadModifyWrite, Change::Patch(patch)) => {
                    if let Ok(mut record) = self.store.get(&write.id).await {
                        tokio::task::yield_now().await;
                        record.apply_patch(patch);
                        write.change = Change::Update(Box::new(record));
                    }
                }
                (Fault::UnknownFieldsLost, Change::Status(status)) => {
                    if let Ok(record) = self.store.get(&write.id).await {
                        let mut known = Stream::new(record.id.clone(), record.kind.clone(), &record.source_addr);
                        known.update_stats(&record.stats());
                        known.set_status(status.clone());
                        write.change = Change::Update(Box::new(known));
                    }
                }
                #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "this is the fault")]
                #[expect(clippy::cast_sign_loss, reason = "this is the fault")]
                (Fault::DoublesForCounters, Change::Stats(stats)) if stats.bytes_received < Some(1 << 62) => {
                    stats.bytes_received = stats.bytes_received.map(|bytes| bytes as f64 as u64);
                }
                (Fault::MissingStatisticsReset, Change::Stats(stats)) => {
                    stats.bitrate.get_or_insert(0);
                }
                (Fault::MergeReplacesLabels, Change::Patch(patch)) => {
                    if let stream_registry::stream::LabelsPatch::Merge(labels) = &patch.labels {
                        let set = labels.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?)));
                        patch.labels = stream_registry::stream::LabelsPatch::Replace(set.collect());
                    }
                }
                (Fault::FeedEmitsHeartbeats, Change::Heartbeat) => write.change = Change::Patch(Box::default()),
                (Fault::GuardsIgnored, _) => write.guard = Guard::Force,
                _ => {}
            }
            let answer = self.store.write(std::slice::from_ref(&write)).await?.remove(0);
            let stop = self.has(Fault::BatchStopsAtFailure) && answer.is_err();
            answers.push(self.alter_error(answer));
            if stop {
                let rest = &writes[answers.len()..];
                answers.extend(rest.iter().map(|write| Err(Error::not_found(&write.id))));
                break;
            }
        }
        if self.has(Fault::BatchResultsReversed) {
            answers.reverse();
        }
        Ok(answers)
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Registry for FaultyRegistry {
    async fn register_with(&self, stream: &Stream, options: &RegisterOptions) -> Result<Registered> {
        let mut options = options.clone();
        let mut given = stream.clone();
        match self.fault {
            Fault::OperationIdsIgnored => options.operation = None,
            Fault::NodeNotCompared => given.node = None,
            Fault::RegisterIsNotAtomic => {
                let live = self.store.get(&stream.id).await;
                tokio::task::yield_now().await;
                if live.is_err() {
                    options = options.on_conflict(stream_registry::OnConflict::TakeOver);
                }
            }
            Fault::RecoveryIsRegister if options.recover.is_some() => {
                options.recover = None;
                options.lease = true;
            }
            Fault::RecoveryIsTakeOver if options.recover.is_some() => {
                let epoch = options.recover.take();
                options = options.on_conflict(stream_registry::OnConflict::TakeOver);
                let answer = self.store.register_with(stream, &options).await?;
                return self.put_epoch(answer, epoch);
            }
            Fault::RecoveryIgnoresGreaterEpochs if options.recover.is_some() => {
                if let Ok(live) = self.store.get(&stream.id).await {
                    options.recover = live.epoch().cloned();
                }
            }
            Fault::TakeOverKeepsEpoch => {
                let before = self.store.get(&stream.id).await.ok().and_then(|live| live.epoch().cloned());
                let answer = self.alter_error(self.store.register_with(stream, &options).await)?;
                return match answer.outcome {
                    Outcome::TakenOver if before.is_some() => self.put_epoch(answer, before),
                    _ => Ok(answer),
                };
            }
            Fault::StalenessIgnored => {
                if let stream_registry::OnConflict::TakeOverIfStale(_) = options.on_conflict {
                    options = options.on_conflict(stream_registry::OnConflict::TakeOver);
                }
            }
            Fault::EpochOfCaller => {
                let answer = self.alter_error(self.store.register_with(stream, &options).await)?;
                return match stream.epoch() {
                    Some(epoch) => self.put_epoch(answer, Some(epoch.clone())),
                    None => Ok(answer),
                };
            }
            Fault::RenewalChangesCreatedAt => {
                let answer = self.store.register_with(stream, &options).await?;
                if answer.outcome == Outcome::Renewed {
                    let over = RegisterOptions::default().on_conflict(stream_registry::OnConflict::TakeOver);
                    let again = self.store.register_with(stream, &over).await?;
                    return Ok(Registered::new(again.stream, Outcome::Renewed, again.ttl));
                }
                return Ok(answer);
            }
            _ => {}
        }
        let mut answer = self.alter_error(self.store.register_with(&given, &options).await)?;
        if self.has(Fault::ClockOfCaller) {
            answer.stream.created_at = stream.created_at;
            self.store.put_stored(&stream.id, &answer.stream.to_json())?;
        }
        Ok(answer)
    }

    async fn unregister_with(&self, id: &StreamId, options: &UnregisterOptions) -> Result<Stream> {
        let mut options = options.clone();
        match self.fault {
            Fault::OperationIdsIgnored => options.operation = None,
            Fault::GuardsIgnored => options.guard = Guard::Force,
            Fault::UnregisterAlwaysSucceeds => {
                let answer = self.store.unregister_with(id, &options).await;
                return answer.or_else(|_| Ok(Stream::new(id.clone(), stream_registry::StreamType::Srt, "")));
            }
            _ => {}
        }
        self.alter_error(self.store.unregister_with(id, &options).await)
    }

    async fn write(&self, writes: &[Write]) -> Result<Vec<Result<()>>> {
        if !self.has(Fault::NoLimitOnBatches) && writes.len() > 1_000 {
            return Err(Error::invalid("at most 1000"));
        }
        if writes.is_empty() {
            return self.store.write(writes).await;
        }
        self.write_each(writes).await
    }

    async fn get(&self, id: &StreamId) -> Result<Stream> {
        if self.has(Fault::GetRenews) {
            let renew = Write { id: id.clone(), guard: Guard::Force, change: Change::Heartbeat };
            self.store.write(&[renew]).await?.remove(0)?;
        }
        self.alter_error(self.store.get(id).await)
    }

    async fn get_many(&self, ids: &[StreamId]) -> Result<Vec<Option<Stream>>> {
        let mut answers = self.store.get_many(ids).await?;
        if self.has(Fault::GetManyOmitsUnknown) {
            answers.retain(Option::is_some);
        }
        Ok(answers)
    }

    async fn find(&self, query: &Query) -> Result<Page> {
        let mut query = query.clone();
        match self.fault {
            Fault::FindIgnoresNode => query.filter.node = None,
            Fault::FindSortsAscendingOnly => query.order.descending = false,
            _ => {}
        }
        let mut page = match self.store.find(&query).await {
            Err(error) if self.has(Fault::AnyQueryCursorAccepted) && error.kind() == ErrorKind::InvalidCursor => {
                query.cursor = None;
                self.store.find(&query).await?
            }
            other => other?,
        };
        match (self.fault, &query.filter.search) {
            (Fault::SearchIsCaseSensitive, Some(search)) => {
                page.streams.retain(|stream| stream.to_json().contains(search));
                page.total = page.streams.len() as u64;
            }
            (Fault::TotalCountsThePage, _) => page.total = page.streams.len() as u64,
            (Fault::FindSkipsLastStream, _) if page.next.is_some() => drop(page.streams.pop()),
            _ => {}
        }
        Ok(page)
    }

    async fn summary(&self, filter: &Filter, by: By) -> Result<Summary> {
        let mut summary = self.store.summary(filter, by).await?;
        if self.has(Fault::SummaryOmitsMissingNode) {
            summary.groups.retain(|group| group.key.is_some());
        }
        Ok(summary)
    }

    async fn history(&self, ended: &Ended, limit: NonZeroU32) -> Result<Vec<Event>> {
        let limit = if self.has(Fault::HistoryIgnoresLimit) { NonZeroU32::MAX } else { limit };
        let mut events = self.store.history(ended, limit).await?;
        match self.fault {
            Fault::HistoryOldestFirst => events.reverse(),
            Fault::HistoryOmitsExpired => {
                events.retain(|event| !matches!(event, Event::Ended { reason: Ending::Expired, .. }));
            }
            _ => {}
        }
        Ok(events)
    }

    async fn snapshot(&self) -> Result<Snapshot> {
        let mut snapshot = self.store.snapshot().await?;
        if self.has(Fault::SnapshotRevisionIsOld) {
            snapshot.revision = self.store.watch(WatchFrom::Oldest).await?.start().cloned();
        }
        if !self.has(Fault::ListIsNotAtomic) {
            return Ok(snapshot);
        }
        // Reads the streams again after one of them has ended, so that the list mixes two moments. If no stream ends, the
        // number of attempts limits the wait.
        let mut found = Vec::new();
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
            let ids: Vec<_> = snapshot.streams.iter().map(|stream| stream.id.clone()).collect();
            found = self.store.get_many(&ids).await?.into_iter().flatten().collect();
            if found.len() < ids.len() {
                break;
            }
        }
        Ok(Snapshot::new(found))
    }

    async fn list_page(&self, cursor: Option<&Cursor>, count: NonZeroU32) -> Result<Page> {
        let mut page = match self.store.list_page(cursor, count).await {
            Err(error) if self.has(Fault::InvalidCursorAccepted) && error.kind() == ErrorKind::InvalidCursor => {
                self.store.list_page(None, count).await?
            }
            other => other?,
        };
        if self.has(Fault::PagesSkipLastStream) && page.next.is_some() {
            page.streams.pop();
        }
        Ok(page)
    }

    async fn watch(&self, from: WatchFrom) -> Result<Watch> {
        let from = if self.has(Fault::FeedIgnoresRevision) { WatchFrom::Now } else { from };
        let events = match self.store.watch(from).await {
            Err(_) if self.has(Fault::FeedAcceptsAnyRevision) => self.store.watch(WatchFrom::Now).await?,
            events => events?,
        };
        let fault = self.fault;
        let mut n = 0;
        let mut before = None;
        let altered = events.flat_map(move |event| {
            n += 1;
            let held = before.replace(event.clone());
            stream::iter(match (fault, event) {
                (Fault::FeedSkipsEvents, _) if n % 20 == 0 => vec![],
                (Fault::FeedRepeatsEvents, event) if n % 20 == 0 => vec![event.clone(), event],
                (Fault::FeedSwapsEvents, event) => match n % 20 {
                    10 => vec![],
                    11 => vec![event].into_iter().chain(held).collect(),
                    _ => vec![event],
                },
                (Fault::FeedEmitsOldRecord, Event::Changed { revision, kind, stream }) => {
                    let record = held.as_ref().and_then(Event::stream).unwrap_or(&stream).clone();
                    vec![Event::Changed { revision, kind, stream: record }]
                }
                (Fault::FeedOmitsEnding, Event::Ended { revision, last, as_of, .. }) => {
                    let reason = Ending::Unregistered(stream_registry::stream::EndReason::default());
                    vec![Event::Ended { revision, reason, last, as_of }]
                }
                (_, event) => vec![event],
            })
        });
        Ok(Watch::new(altered))
    }

    async fn close(&self) -> Result<()> {
        if self.has(Fault::CloseDoesNothing) { Ok(()) } else { self.store.close().await }
    }

    forward_registry!(|this| this.store => ping, info, now, metrics);
    forward_registry!(provided => register_new, conveniences);
}

struct Faulty(Fault);

#[async_trait]
impl Subject for Faulty {
    async fn open(&self, ttl: Duration) -> Result<Box<dyn Instance>> {
        let store = Arc::new(MockRegistry::with_ttl(ttl)?);
        let registry = Arc::new(FaultyRegistry { store: Arc::clone(&store), fault: self.0 });
        Ok(Box::new(Open { store, registry }))
    }
}

struct Open {
    store: Arc<MockRegistry>,
    registry: Arc<dyn Registry>,
}

#[async_trait]
impl Instance for Open {
    fn registry(&self) -> Arc<dyn Registry> {
        Arc::clone(&self.registry)
    }

    async fn advance(&self, by: Duration) {
        self.store.advance(by);
    }

    async fn put_stored(&self, id: &StreamId, json: &str) -> Option<()> {
        self.store.put_stored(id, json).ok()
    }
}

/// Asserts that a store with this fault fails the given behaviour.
async fn assert_detected(fault: Fault, behaviour: &str) {
    let report = run_matching(Arc::new(Faulty(fault)), behaviour).await;
    assert_eq!(report.failed(), [behaviour], "{fault:?} was not detected: {report}");
}

macro_rules! detects {
    ($($test:ident: $fault:ident, $behaviour:literal;)+) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                assert_detected(Fault::$fault, $behaviour).await;
            }
        )+
    };
}

detects! {
    suite_detects_heartbeat_that_does_not_renew_the_stream: HeartbeatDoesNotRenew, "ttl/heartbeat_renews_the_time_to_live";
    suite_detects_read_that_renews_the_stream: GetRenews, "ttl/reads_do_not_renew_the_time_to_live";
    suite_detects_lost_unknown_fields: UnknownFieldsLost, "unknown-fields/status_update_keeps_unknown_fields";
    suite_detects_renewal_that_changes_created_at: RenewalChangesCreatedAt, "register/same_publisher_renews_the_stream";
    suite_detects_not_found_reported_as_unavailable: NotFoundIsUnavailable, "get/get_returns_not_found_for_an_unknown_id";
    suite_detects_register_that_is_not_atomic: RegisterIsNotAtomic, "register/exactly_one_of_many_concurrent_publishers_registers_the_stream";
    suite_detects_unregister_that_always_succeeds: UnregisterAlwaysSucceeds, "unregister/unregister_returns_not_found_without_a_live_stream";
    suite_detects_counters_stored_as_doubles: DoublesForCounters, "numbers/counters_are_exact_after_a_statistics_update";
    suite_detects_statistics_reset_when_they_are_not_given: MissingStatisticsReset, "stats/statistics_update_keeps_values_that_are_not_given";
    suite_detects_ignored_operation_ids: OperationIdsIgnored, "operation-ids/unregister_sent_twice_keeps_a_stream_registered_in_between";
    suite_detects_ignored_guards: GuardsIgnored, "guards/leased_stream_rejects_writes_without_its_epoch";
    suite_detects_batch_results_out_of_order: BatchResultsReversed, "batches/batch_returns_one_result_per_write_in_order";
    suite_detects_batch_that_stops_at_a_failure: BatchStopsAtFailure, "batches/batch_continues_after_a_failed_write";
    suite_detects_list_that_is_not_atomic: ListIsNotAtomic, "list/list_is_an_atomic_snapshot";
    suite_detects_pages_that_skip_a_stream: PagesSkipLastStream, "pages/pages_of_any_size_contain_every_stream";
    suite_detects_accepted_altered_page_cursor: InvalidCursorAccepted, "pages/altered_page_cursor_is_rejected";
    suite_detects_errors_without_stream_id: ErrorsWithoutStream, "errors/errors_name_the_operation_and_the_stream";
    suite_detects_update_that_creates_a_stream: UpdateCreates, "update/update_creates_nothing_without_a_live_stream";
    suite_detects_close_without_effect: CloseDoesNothing, "close/every_call_after_close_fails_with_closed";
    suite_detects_patch_that_is_not_atomic: ReadModifyWrite, "atomicity/concurrent_writes_to_one_stream_are_all_kept";
    suite_detects_times_from_the_clock_of_the_caller: ClockOfCaller, "times/registration_times_come_from_the_clock_of_the_store";
    suite_detects_label_merge_that_replaces_all_labels: MergeReplacesLabels, "patch/patch_can_merge_labels";
    suite_detects_missing_batch_limit: NoLimitOnBatches, "batches/batch_of_1001_writes_is_rejected_and_changes_nothing";
    suite_detects_registration_that_ignores_the_node: NodeNotCompared, "register/publisher_on_another_node_is_rejected";
    suite_detects_epoch_taken_from_the_caller: EpochOfCaller, "leases/leased_registration_ignores_an_epoch_in_the_given_record";
    suite_detects_recovery_with_a_new_epoch: RecoveryIsRegister, "recovery/recovery_restores_a_lost_stream_unchanged";
    suite_detects_recovery_without_checks: RecoveryIsTakeOver, "recovery/recovery_is_rejected_after_a_newer_holder_unregistered_the_stream";
    suite_detects_recovery_that_ignores_greater_epochs: RecoveryIgnoresGreaterEpochs, "recovery/recovery_is_rejected_when_the_record_has_a_greater_epoch";
    suite_detects_take_over_that_keeps_the_epoch: TakeOverKeepsEpoch, "take-over/writes_of_the_old_holder_are_rejected_after_take_over";
    suite_detects_take_over_of_a_fresh_stream: StalenessIgnored, "take-over/take_over_if_stale_is_rejected_while_stream_is_fresh";
    suite_detects_feed_that_emits_heartbeats: FeedEmitsHeartbeats, "feed/feed_emits_nothing_for_heartbeats_statistics_and_rejected_calls";
    suite_detects_feed_that_skips_events: FeedSkipsEvents, "feed/feed_keeps_the_order_of_changes";
    suite_detects_feed_that_repeats_events: FeedRepeatsEvents, "feed/feed_keeps_the_order_of_changes";
    suite_detects_feed_events_out_of_order: FeedSwapsEvents, "feed/feed_keeps_the_order_of_changes";
    suite_detects_feed_that_ignores_the_revision: FeedIgnoresRevision, "feed/watch_resumes_after_any_revision";
    suite_detects_feed_that_accepts_any_revision: FeedAcceptsAnyRevision, "feed/watch_rejects_an_invalid_revision";
    suite_detects_feed_that_emits_old_records: FeedEmitsOldRecord, "feed/feed_emits_each_state_change_once_with_the_record";
    suite_detects_missing_end_reason: FeedOmitsEnding, "feed/unregistration_event_contains_the_reason_and_the_last_record";
    suite_detects_expiry_reported_as_unregistration: FeedOmitsEnding, "feed/feed_emits_each_expiry_once_with_the_last_record";
    suite_detects_old_snapshot_revision: SnapshotRevisionIsOld, "feed/watch_continues_from_the_revision_of_a_snapshot";
    suite_detects_conflict_error_without_record: AlreadyExistsWithoutRecord, "register/conflict_error_contains_the_live_record";
    suite_detects_case_sensitive_search: SearchIsCaseSensitive, "queries/find_search_ignores_case";
    suite_detects_find_that_ignores_the_node: FindIgnoresNode, "queries/find_selects_by_each_condition";
    suite_detects_find_that_ignores_the_sort_direction: FindSortsAscendingOnly, "queries/find_sorts_by_each_field_in_both_directions";
    suite_detects_total_that_counts_only_one_page: TotalCountsThePage, "queries/every_page_of_find_reports_the_total_of_matches";
    suite_detects_query_pages_that_skip_a_stream: FindSkipsLastStream, "queries/pages_of_find_contain_every_match_once";
    suite_detects_find_that_accepts_cursor_of_another_order: AnyQueryCursorAccepted, "queries/find_rejects_a_cursor_of_another_sort_order";
    suite_detects_find_that_accepts_a_malformed_cursor: AnyQueryCursorAccepted, "queries/find_rejects_a_malformed_cursor";
    suite_detects_get_many_that_omits_unknown_ids: GetManyOmitsUnknown, "queries/get_many_returns_one_result_per_id_in_order";
    suite_detects_summary_that_omits_streams_without_a_node: SummaryOmitsMissingNode, "queries/summary_counts_streams_by_node_type_and_status";
    suite_detects_history_in_wrong_order: HistoryOldestFirst, "queries/history_lists_the_latest_ended_stream_first";
    suite_detects_history_that_ignores_the_limit: HistoryIgnoresLimit, "queries/history_applies_conditions_and_limit";
    suite_detects_history_that_omits_expired_streams: HistoryOmitsExpired, "queries/history_lists_expired_streams";
}

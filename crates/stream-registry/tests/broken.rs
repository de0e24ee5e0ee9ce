//! The suite finds what is wrong: each store here is the in-memory one with one subtle fault.

#![cfg(feature = "conformance")]
#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt as _, stream};
use stream_registry::conformance::{Instance, Subject, run_matching};
use stream_registry::mock::MockRegistry;
use stream_registry::registry::StoreInfo;
use stream_registry::watch::{Event, Watch, WatchFrom};
use stream_registry::{
    Change, Cursor, Error, ErrorKind, Guard, Outcome, Page, RegisterOptions, Registered, Registry, Result, Snapshot,
    Stream, StreamId, UnregisterOptions, Write,
};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Flaw {
    HeartbeatDoesNotRenew,
    GetRenews,
    UnknownFieldsLost,
    RenewalMovesCreatedAt,
    NotFoundIsUnavailable,
    RegisterInTwoSteps,
    UnregisterIsNotFoundNever,
    DoublesForCounters,
    OperationIdsIgnored,
    GuardsIgnored,
    BatchAnswersReversed,
    BatchStopsAtFailure,
    ListInTwoSteps,
    PagesSkipTheLast,
    AnyCursorBeginsAnew,
    ErrorsNameNoStream,
    UpdateCreates,
    CloseDoesNothing,
    ReadModifyWrite,
    CallersClock,
    LabelsReplacedByMerge,
    NoLimitOnBatches,
    NodeNotCompared,
    AlreadyExistsWithoutRecord,
    FeedTellsHeartbeats,
    FeedSkipsEvents,
    FeedDoublesEvents,
    FeedSwapsEvents,
    FeedForgetsWhereToResume,
    FeedTellsTheRecordBefore,
    FeedEndsWithoutReason,
    SnapshotsRevisionIsOld,
    EpochFromTheCaller,
    RecoveryIsTakeOver,
    RecoveryIsRegister,
    RecoveryIgnoresGreaterEpochs,
    TakeOverKeepsTheEpoch,
    StalenessIgnored,
}

#[derive(Debug)]
struct Broken {
    store: Arc<MockRegistry>,
    flaw: Flaw,
}

impl Broken {
    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == flaw
    }

    fn spoil<T>(&self, answer: Result<T>) -> Result<T> {
        answer.map_err(|error| match self.flaw {
            Flaw::NotFoundIsUnavailable if error.kind() == ErrorKind::NotFound => {
                Error::new(ErrorKind::Unavailable, error.message()).with_stream(error.stream_id().unwrap())
            }
            Flaw::ErrorsNameNoStream => {
                let plain = Error::new(error.kind(), error.message());
                let plain = error.operation().map_or(plain.clone(), |operation| plain.with_operation(operation));
                error.existing().map_or(plain.clone(), |existing| plain.with_existing(existing.clone()))
            }
            Flaw::AlreadyExistsWithoutRecord if error.kind() == ErrorKind::AlreadyExists => {
                let plain = Error::new(error.kind(), error.message()).with_operation(error.operation().unwrap());
                plain.with_stream(error.stream_id().unwrap())
            }
            _ => error,
        })
    }

    /// Stores and answers another epoch.
    fn put_epoch(&self, answer: Registered, epoch: Option<stream_registry::Epoch>) -> Result<Registered> {
        let json = answer.stream.to_json();
        let text = epoch.map_or(String::new(), |epoch| format!(",\"epoch\":\"{epoch}\"}}"));
        let json = if text.is_empty() { json } else { format!("{}{text}", json.trim_end_matches('}')) };
        self.store.put_stored(&answer.stream.id, &json)?;
        Ok(Registered::new(Stream::from_stored(&answer.stream.id, &json)?, answer.outcome, answer.ttl))
    }

    async fn write_each(&self, writes: &[Write]) -> Result<Vec<Result<()>>> {
        let mut answers = Vec::new();
        for write in writes {
            let mut write = write.clone();
            match (self.flaw, &mut write.change) {
                (Flaw::HeartbeatDoesNotRenew, Change::Heartbeat) => {
                    answers.push(self.store.get(&write.id).await.map(drop));
                    continue;
                }
                (Flaw::UpdateCreates, Change::Update(record)) if self.store.get(&write.id).await.is_err() => {
                    answers.push(self.store.register(record).await.map(drop));
                    continue;
                }
                (Flaw::ReadModifyWrite, Change::Patch(patch)) => {
                    if let Ok(mut record) = self.store.get(&write.id).await {
                        tokio::task::yield_now().await;
                        record.apply_patch(patch);
                        write.change = Change::Update(Box::new(record));
                    }
                }
                (Flaw::UnknownFieldsLost, Change::Status(status)) => {
                    if let Ok(record) = self.store.get(&write.id).await {
                        let mut known = Stream::new(record.id.clone(), record.kind.clone(), &record.source_addr);
                        known.update_stats(&record.stats());
                        known.set_status(status.clone());
                        write.change = Change::Update(Box::new(known));
                    }
                }
                #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "the flaw")]
                #[expect(clippy::cast_sign_loss, reason = "the flaw")]
                (Flaw::DoublesForCounters, Change::Stats(stats)) if stats.bytes_received < 1 << 62 => {
                    stats.bytes_received = stats.bytes_received as f64 as u64;
                }
                (Flaw::LabelsReplacedByMerge, Change::Patch(patch)) => {
                    if let stream_registry::stream::LabelsPatch::Merge(labels) = &patch.labels {
                        let set = labels.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?)));
                        patch.labels = stream_registry::stream::LabelsPatch::Replace(set.collect());
                    }
                }
                (Flaw::FeedTellsHeartbeats, Change::Heartbeat) => write.change = Change::Patch(Box::default()),
                (Flaw::GuardsIgnored, _) => write.guard = Guard::Force,
                _ => {}
            }
            let answer = self.store.write(std::slice::from_ref(&write)).await?.remove(0);
            let stop = self.has(Flaw::BatchStopsAtFailure) && answer.is_err();
            answers.push(self.spoil(answer));
            if stop {
                let rest = &writes[answers.len()..];
                answers.extend(rest.iter().map(|write| Err(Error::not_found(&write.id))));
                break;
            }
        }
        if self.has(Flaw::BatchAnswersReversed) {
            answers.reverse();
        }
        Ok(answers)
    }
}

#[async_trait]
impl Registry for Broken {
    async fn register_with(&self, stream: &Stream, options: &RegisterOptions) -> Result<Registered> {
        let mut options = options.clone();
        let mut given = stream.clone();
        match self.flaw {
            Flaw::OperationIdsIgnored => options.operation = None,
            Flaw::NodeNotCompared => given.node = None,
            Flaw::RegisterInTwoSteps => {
                let there = self.store.get(&stream.id).await;
                tokio::task::yield_now().await;
                if there.is_err() {
                    options = options.on_conflict(stream_registry::OnConflict::TakeOver);
                }
            }
            Flaw::RecoveryIsRegister if options.recover.is_some() => {
                options.recover = None;
                options.lease = true;
            }
            Flaw::RecoveryIsTakeOver if options.recover.is_some() => {
                let epoch = options.recover.take();
                options = options.on_conflict(stream_registry::OnConflict::TakeOver);
                let answer = self.store.register_with(stream, &options).await?;
                return self.put_epoch(answer, epoch);
            }
            Flaw::RecoveryIgnoresGreaterEpochs if options.recover.is_some() => {
                if let Ok(there) = self.store.get(&stream.id).await {
                    options.recover = there.epoch().cloned();
                }
            }
            Flaw::TakeOverKeepsTheEpoch => {
                let before = self.store.get(&stream.id).await.ok().and_then(|there| there.epoch().cloned());
                let answer = self.spoil(self.store.register_with(stream, &options).await)?;
                return match answer.outcome {
                    Outcome::TakenOver if before.is_some() => self.put_epoch(answer, before),
                    _ => Ok(answer),
                };
            }
            Flaw::StalenessIgnored => {
                if let stream_registry::OnConflict::TakeOverIfStale(_) = options.on_conflict {
                    options = options.on_conflict(stream_registry::OnConflict::TakeOver);
                }
            }
            Flaw::EpochFromTheCaller => {
                let answer = self.spoil(self.store.register_with(stream, &options).await)?;
                return match stream.epoch() {
                    Some(epoch) => self.put_epoch(answer, Some(epoch.clone())),
                    None => Ok(answer),
                };
            }
            Flaw::RenewalMovesCreatedAt => {
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
        let mut answer = self.spoil(self.store.register_with(&given, &options).await)?;
        if self.has(Flaw::CallersClock) {
            answer.stream.created_at = stream.created_at;
            self.store.put_stored(&stream.id, &answer.stream.to_json())?;
        }
        Ok(answer)
    }

    async fn unregister_with(&self, id: &StreamId, options: &UnregisterOptions) -> Result<Stream> {
        let mut options = options.clone();
        match self.flaw {
            Flaw::OperationIdsIgnored => options.operation = None,
            Flaw::GuardsIgnored => options.guard = Guard::Force,
            Flaw::UnregisterIsNotFoundNever => {
                let answer = self.store.unregister_with(id, &options).await;
                return answer.or_else(|_| Ok(Stream::new(id.clone(), stream_registry::StreamType::Srt, "")));
            }
            _ => {}
        }
        self.spoil(self.store.unregister_with(id, &options).await)
    }

    async fn write(&self, writes: &[Write]) -> Result<Vec<Result<()>>> {
        if !self.has(Flaw::NoLimitOnBatches) && writes.len() > 1_000 {
            return Err(Error::invalid("at most 1000"));
        }
        if writes.is_empty() {
            return self.store.write(writes).await;
        }
        self.write_each(writes).await
    }

    async fn get(&self, id: &StreamId) -> Result<Stream> {
        if self.has(Flaw::GetRenews) {
            let renew = Write { id: id.clone(), guard: Guard::Force, change: Change::Heartbeat };
            self.store.write(&[renew]).await?.remove(0)?;
        }
        self.spoil(self.store.get(id).await)
    }

    async fn snapshot(&self) -> Result<Snapshot> {
        let mut snapshot = self.store.snapshot().await?;
        if self.has(Flaw::SnapshotsRevisionIsOld) {
            snapshot.revision = self.store.watch(WatchFrom::Oldest).await?.start().cloned();
        }
        if !self.has(Flaw::ListInTwoSteps) {
            return Ok(snapshot);
        }
        let mut found = Vec::new();
        // The oldest first: those that come and go meanwhile are looked up last.
        for record in snapshot.streams.into_iter().rev() {
            tokio::task::yield_now().await;
            found.extend(self.store.get(&record.id).await);
        }
        Ok(Snapshot::new(found))
    }

    async fn list_page(&self, cursor: Option<&Cursor>, count: NonZeroU32) -> Result<Page> {
        let mut page = match self.store.list_page(cursor, count).await {
            Err(error) if self.has(Flaw::AnyCursorBeginsAnew) && error.kind() == ErrorKind::InvalidCursor => {
                self.store.list_page(None, count).await?
            }
            other => other?,
        };
        if self.has(Flaw::PagesSkipTheLast) && page.next.is_some() {
            page.streams.pop();
        }
        Ok(page)
    }

    async fn watch(&self, from: WatchFrom) -> Result<Watch> {
        let from = if self.has(Flaw::FeedForgetsWhereToResume) { WatchFrom::Now } else { from };
        let events = self.store.watch(from).await?;
        let flaw = self.flaw;
        let mut at = 0;
        let mut before = None;
        let spoiled = events.flat_map(move |event| {
            at += 1;
            let held = before.replace(event.clone());
            stream::iter(match (flaw, event) {
                (Flaw::FeedSkipsEvents, _) if at % 20 == 0 => vec![],
                (Flaw::FeedDoublesEvents, event) if at % 20 == 0 => vec![event.clone(), event],
                (Flaw::FeedSwapsEvents, event) => match at % 20 {
                    10 => vec![],
                    11 => vec![event].into_iter().chain(held).collect(),
                    _ => vec![event],
                },
                (Flaw::FeedTellsTheRecordBefore, Event::Changed { revision, kind, stream }) => {
                    let record = held.as_ref().and_then(Event::stream).unwrap_or(&stream).clone();
                    vec![Event::Changed { revision, kind, stream: record }]
                }
                (Flaw::FeedEndsWithoutReason, Event::Ended { revision, last, as_of, .. }) => {
                    let reason =
                        stream_registry::watch::Ending::Unregistered(stream_registry::stream::EndReason::default());
                    vec![Event::Ended { revision, reason, last, as_of }]
                }
                (_, event) => vec![event],
            })
        });
        Ok(Watch::new(spoiled))
    }

    async fn ping(&self) -> Result<()> {
        self.store.ping().await
    }

    fn info(&self) -> StoreInfo {
        self.store.info()
    }

    async fn close(&self) -> Result<()> {
        if self.has(Flaw::CloseDoesNothing) { Ok(()) } else { self.store.close().await }
    }
}

struct Flawed(Flaw);

#[async_trait]
impl Subject for Flawed {
    async fn open(&self, ttl: Duration) -> Result<Box<dyn Instance>> {
        let store = Arc::new(MockRegistry::with_ttl(ttl)?);
        let registry = Arc::new(Broken { store: Arc::clone(&store), flaw: self.0 });
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

    async fn put_stored(&self, id: &StreamId, text: &str) -> Option<()> {
        self.store.put_stored(id, text).ok()
    }
}

/// The suite fails for the flaw, and names a behaviour that says what is wrong.
async fn finds(flaw: Flaw, behaviour: &str) {
    let report = run_matching(Arc::new(Flawed(flaw)), behaviour).await;
    assert_eq!(report.failed(), [behaviour], "{flaw:?} is not seen: {report}");
}

macro_rules! found {
    ($($test:ident: $flaw:ident, $behaviour:literal;)+) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                finds(Flaw::$flaw, $behaviour).await;
            }
        )+
    };
}

found! {
    a_heartbeat_that_does_not_renew: HeartbeatDoesNotRenew, "ttl/is_renewed_by_a_heartbeat";
    a_read_that_renews: GetRenews, "ttl/is_not_renewed_by_reads";
    lost_unknown_fields: UnknownFieldsLost, "unknown-fields/are_kept_by_a_status";
    a_renewal_that_moves_created_at: RenewalMovesCreatedAt, "register/renews_for_the_same_publisher";
    not_found_as_a_failed_store: NotFoundIsUnavailable, "get/does_not_find_what_is_not_live";
    a_register_in_two_steps: RegisterInTwoSteps, "register/one_of_many_publishers_wins";
    an_unregister_that_always_succeeds: UnregisterIsNotFoundNever, "unregister/knows_no_stream_that_is_not_live";
    counters_as_doubles: DoublesForCounters, "numbers/are_exact_in_statistics";
    ignored_operation_ids: OperationIdsIgnored, "operation-ids/unregister_sent_twice_does_not_end_the_successor";
    ignored_guards: GuardsIgnored, "guards/a_leased_stream_refuses_writes_without_its_epoch";
    answers_out_of_order: BatchAnswersReversed, "batches/are_answered_each_on_its_own_and_in_order";
    a_batch_that_stops_at_a_failure: BatchStopsAtFailure, "batches/go_on_after_a_write_that_fails";
    a_list_in_two_steps: ListInTwoSteps, "list/is_one_moment";
    pages_with_a_hole: PagesSkipTheLast, "pages/of_any_size_have_every_stream";
    a_cursor_that_is_not_checked: AnyCursorBeginsAnew, "pages/refuse_a_malformed_cursor";
    errors_that_name_no_stream: ErrorsNameNoStream, "errors/name_the_operation_and_the_stream";
    an_update_that_creates: UpdateCreates, "update/creates_nothing";
    a_close_that_does_nothing: CloseDoesNothing, "close/every_later_call_fails_with_closed";
    a_read_modify_write: ReadModifyWrite, "atomicity/changes_of_one_stream_at_once_are_all_kept";
    the_callers_clock: CallersClock, "times/are_the_stores_at_register";
    a_merge_that_replaces: LabelsReplacedByMerge, "patch/merges_labels";
    batches_without_limit: NoLimitOnBatches, "batches/of_more_than_1000_are_refused_whole";
    a_node_that_is_not_compared: NodeNotCompared, "register/refuses_another_node";
    an_epoch_of_the_callers: EpochFromTheCaller, "leases/do_not_take_an_epoch_from_the_caller";
    a_recovery_without_the_epoch: RecoveryIsRegister, "recovery/brings_an_absent_stream_back_as_it_was";
    a_recovery_that_asks_nobody: RecoveryIsTakeOver, "recovery/of_a_stream_that_a_successor_ended_is_refused";
    a_recovery_under_any_epoch: RecoveryIgnoresGreaterEpochs, "recovery/yields_to_a_greater_epoch";
    a_take_over_that_fences_nobody: TakeOverKeepsTheEpoch, "take-over/fences_the_old_holder";
    ignored_staleness: StalenessIgnored, "take-over/if_stale_refuses_what_is_fresh";
    a_feed_of_heartbeats: FeedTellsHeartbeats, "feed/tells_nothing_of_heartbeats_statistics_and_refusals";
    a_feed_that_skips: FeedSkipsEvents, "feed/keeps_the_order";
    a_feed_that_doubles: FeedDoublesEvents, "feed/keeps_the_order";
    a_feed_out_of_order: FeedSwapsEvents, "feed/keeps_the_order";
    a_feed_that_forgets_where_to_resume: FeedForgetsWhereToResume, "feed/resumes_after_any_revision";
    a_feed_of_the_records_before: FeedTellsTheRecordBefore, "feed/tells_every_change_of_state_once_with_the_record";
    ends_without_their_reason: FeedEndsWithoutReason, "feed/tells_how_a_stream_ended";
    expiries_that_look_like_ends: FeedEndsWithoutReason, "feed/tells_of_an_expiry_once_with_the_last_record";
    a_snapshot_with_an_old_revision: SnapshotsRevisionIsOld, "feed/goes_on_from_the_revision_of_a_snapshot";
    a_refusal_without_the_record: AlreadyExistsWithoutRecord, "register/refuses_with_the_record_that_is_there";
}

//! Batches of heartbeats, status, statistics, patches and whole records.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use redis::Value;

use super::{compare, epoch_field, outcome, replace};
use crate::error::{Error, Result};
use crate::redis::coalesce::Job;
use crate::redis::fault::Effect;
use crate::redis::reply;
use crate::redis::script::{Script, ScriptCall};
use crate::redis::store::Store;
use crate::registry::{Change, Guard, Write, rules};
use crate::stream::encode::push_json_string;
use crate::stream::{StreamId, StreamStats};

/// Maximum number of writes in one script call. Larger calls would cost little less per write. This many writes block
/// the server for at most two or three milliseconds.
const CHUNK: usize = 125;

static WRITE: LazyLock<Script> = LazyLock::new(|| Script::new("write", include_str!("write.lua")));

/// Coalesces this process's single writes into batches.
pub(in crate::redis) struct WriteJob(pub(in crate::redis) Arc<Store>);

#[async_trait]
impl Job for WriteJob {
    type Item = Write;
    type Answer = ();
    const MAX_IN_FLIGHT: usize = 2;

    fn key(item: &Write) -> Option<&StreamId> {
        Some(&item.id)
    }

    async fn run(&self, items: &[Write]) -> Vec<Result<()>> {
        let writes: Vec<_> = items.iter().collect();
        run(&self.0, &writes).await.1
    }
}

/// Applies writes and returns one result per write.
pub(in crate::redis) async fn write(store: &Arc<Store>, writes: &[Write]) -> Result<Vec<Result<()>>> {
    let mut answers: Vec<Result<()>> = writes.iter().map(rules::check_write).collect();
    let valid: Vec<usize> = (0..writes.len()).filter(|&at| answers[at].is_ok()).collect();
    let checked: Vec<_> = valid.iter().map(|&at| &writes[at]).collect();
    let (failed, done) = run(store, &checked).await;
    if let Some(error) = failed.filter(|_| done.len() <= CHUNK && done.iter().all(Result::is_err)) {
        return Err(error);
    }
    for (at, answer) in valid.into_iter().zip(done) {
        answers[at] = answer;
    }
    Ok(answers
        .into_iter()
        .zip(writes)
        .map(|(answer, write)| answer.map_err(|error| rules::name_write(error, write)))
        .collect())
}

/// Applies validated writes in order, with as many calls as necessary. Returns the error of the first call that failed
/// as a whole, and one result per write.
async fn run(store: &Arc<Store>, writes: &[&Write]) -> (Option<Error>, Vec<Result<()>>) {
    let mut answers = Vec::with_capacity(writes.len());
    let mut failed: Option<Error> = None;
    let mut rest = writes;
    while !rest.is_empty() {
        let (chunk, later) = rest.split_at(chunk_len(rest));
        match &failed {
            // An earlier call failed, so these writes are not sent.
            Some(error) => {
                answers.extend(chunk.iter().map(|_| Err(error.clone().with_may_have_applied(false))));
            }
            None => {
                let (error, done) = run_chunk(store, chunk).await;
                failed = error;
                answers.extend(done);
            }
        }
        rest = later;
    }
    (failed, answers)
}

/// Returns how many of the first writes fit in one script call. A call holds at most `CHUNK` writes, each to a
/// different stream.
fn chunk_len(writes: &[&Write]) -> usize {
    let mut seen = HashSet::with_capacity(writes.len().min(CHUNK));
    writes.iter().take(CHUNK).take_while(|write| seen.insert(&write.id)).count()
}

/// Applies the writes of one chunk: first those that need no script, then all others with one script call. Returns the
/// error of the call if it failed as a whole, and one result per write.
async fn run_chunk(store: &Arc<Store>, writes: &[&Write]) -> (Option<Error>, Vec<Result<()>>) {
    let left = match compare::write(store, writes).await {
        Ok(left) => left,
        Err(error) => return (Some(error.clone()), writes.iter().map(|_| Err(error.clone())).collect()),
    };
    let mut answers: Vec<Result<()>> = writes.iter().map(|_| Ok(())).collect();
    if left.is_empty() {
        return (None, answers);
    }
    let scripted: Vec<&Write> = left.iter().map(|&at| writes[at]).collect();
    let (failed, done) = match run_script(store, &scripted).await {
        Ok(done) => (None, done),
        Err(error) => (Some(error.clone()), scripted.iter().map(|_| Err(error.clone())).collect()),
    };
    for (at, answer) in left.into_iter().zip(done) {
        answers[at] = answer;
    }
    (failed, answers)
}

/// Runs one script call. Then makes the changes that the script leaves to the client.
async fn run_script(store: &Arc<Store>, writes: &[&Write]) -> Result<Vec<Result<()>>> {
    let now = store.link.now().await?.to_string();
    let mut keys = Vec::with_capacity(writes.len() + 3);
    keys.push(store.keys.index().to_owned());
    keys.push(store.keys.feed());
    keys.push(store.keys.feed_metadata());
    keys.extend(writes.iter().map(|write| store.keys.record(&write.id)));
    let mut call = WRITE.call(&keys);
    call.arg(store.keys.prefix().len()).arg(&now).arg(store.ttl_ms()).arg(store.ttl_policy());
    // Heartbeats of streams without a lease need no argument if they come after all other writes.
    let explicit = writes.iter().rposition(|write| !is_plain(write)).map_or(0, |last| last + 1);
    for write in &writes[..explicit] {
        push_write(&mut call, write);
    }
    let answer = call.run(&store.link, Effect::Write).await?;
    if matches!(answer, Value::Okay) {
        return Ok(writes.iter().map(|_| Ok(())).collect());
    }
    let answers = reply::array(answer)?;
    if answers.len() != writes.len() {
        return Err(reply::unexpected(&Value::Array(answers)));
    }
    let changes = answers.into_iter().zip(writes).map(|(answer, write)| async move {
        match answer {
            Value::Int(code) => outcome(code, &write.id),
            json => replace::change(store, write, reply::bytes(json)?).await,
        }
    });
    // The writes concern different streams, so they may run concurrently.
    Ok(futures_util::future::join_all(changes).await)
}

/// Returns whether a write is a heartbeat of a stream without a lease.
fn is_plain(write: &Write) -> bool {
    matches!((&write.change, &write.guard), (Change::Heartbeat, Guard::None))
}

fn push_write(call: &mut ScriptCall<'_>, write: &Write) {
    let verb = match &write.change {
        Change::Heartbeat => "h",
        Change::Status(_) => "s",
        Change::Stats(stats) if required_stats(stats).is_some() => "t",
        Change::Stats(_) | Change::Patch(_) | Change::Update(_) => "g",
    };
    match &write.guard {
        Guard::None => call.arg(verb),
        Guard::Force => call.arg(format!("{verb}*")),
        Guard::Holder(epoch) => {
            let field = format!(",{}", epoch_field(epoch));
            // In `write.lua`, an epoch field without a verb means a heartbeat.
            if !matches!(write.change, Change::Heartbeat) {
                call.arg(format!("{verb}="));
            }
            call.arg(field)
        }
    };
    match &write.change {
        Change::Status(status) => {
            let mut json = String::new();
            push_json_string(&mut json, status.as_str());
            // The status is sent without its quotes, because the record already has the quotes.
            call.arg(&json[1..json.len() - 1]);
        }
        Change::Stats(stats) => {
            if let Some(required) = required_stats(stats) {
                push_required_stats(call, required);
            }
        }
        _ => {}
    }
}

/// The four statistics that every record has.
struct RequiredStats {
    bytes_received: u64,
    packets_received: u64,
    packets_lost: u64,
    bitrate: u64,
}

/// Returns the statistics if they are exactly the four that every record has. Otherwise, the client makes the change,
/// not the script. A script for other statistics took 55 lines and was only 1.3 times as fast.
fn required_stats(stats: &StreamStats) -> Option<RequiredStats> {
    match *stats {
        StreamStats {
            bytes_received: Some(bytes_received),
            packets_received: Some(packets_received),
            packets_lost: Some(packets_lost),
            bitrate: Some(bitrate),
            rtt_ms: None,
            jitter_ms: None,
            packets_retransmitted: None,
            packets_dropped: None,
            viewers: None,
            frame_rate: None,
        } => Some(RequiredStats { bytes_received, packets_received, packets_lost, bitrate }),
        _ => None,
    }
}

fn push_required_stats(call: &mut ScriptCall<'_>, stats: RequiredStats) {
    let RequiredStats { bytes_received, packets_received, packets_lost, bitrate } = stats;
    let mut fields = String::with_capacity(96);
    // Writing to a string cannot fail.
    let _ = write!(
        fields,
        r#""bytes_received":{bytes_received},"packets_received":{packets_received},"packets_lost":{packets_lost}"#
    );
    call.arg(bitrate).arg(fields);
}

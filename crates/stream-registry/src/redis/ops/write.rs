//! Heartbeats, status, statistics, patches and whole records, one or many.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use redis::Value;

use super::replace;
use crate::error::{Error, Result};
use crate::redis::connect::Effect;
use crate::redis::fault::unexpected;
use crate::redis::join::Job;
use crate::redis::script::{Script, ScriptCall};
use crate::redis::{Store, reply};
use crate::registry::{Change, Guard, Write, rules};
use crate::stream::encode::{push_json_float, push_json_string};
use crate::stream::{Epoch, StreamId, StreamStats};

/// How many writes go in one script call: enough that the call itself costs little, few enough that
/// the server is not held for more than two or three milliseconds.
const CHUNK: usize = 125;

static WRITE: LazyLock<Script> = LazyLock::new(|| Script::new("write", include_str!("write.lua")));

/// Single writes of this process, joined.
pub(in crate::redis) struct WriteJob(pub(in crate::redis) Arc<Store>);

#[async_trait]
impl Job for WriteJob {
    type Item = Write;
    type Answer = ();

    fn key(item: &Write) -> Option<&StreamId> {
        Some(&item.id)
    }

    async fn run(&self, items: &[Write]) -> Vec<Result<()>> {
        let writes: Vec<_> = items.iter().collect();
        run(&self.0, &writes).await.1
    }
}

/// Does writes, each answered on its own.
pub(in crate::redis) async fn write(store: &Arc<Store>, writes: &[Write]) -> Result<Vec<Result<()>>> {
    let mut answers: Vec<Result<()>> = writes.iter().map(rules::check_write).collect();
    let open: Vec<usize> = (0..writes.len()).filter(|&at| answers[at].is_ok()).collect();
    let checked: Vec<_> = open.iter().map(|&at| &writes[at]).collect();
    let (failed, done) = run(store, &checked).await;
    if let Some(error) = failed.filter(|_| done.len() <= CHUNK && done.iter().all(Result::is_err)) {
        return Err(error);
    }
    for (at, answer) in open.into_iter().zip(done) {
        answers[at] = answer;
    }
    Ok(answers
        .into_iter()
        .zip(writes)
        .map(|(answer, write)| answer.map_err(|error| rules::name_write(error, write)))
        .collect())
}

/// Does writes that were checked, in their order, in as many script calls as it takes; returns what made a call fail as a whole.
async fn run(store: &Arc<Store>, writes: &[&Write]) -> (Option<Error>, Vec<Result<()>>) {
    let mut answers = Vec::with_capacity(writes.len());
    let mut failed: Option<Error> = None;
    let mut rest = writes;
    while !rest.is_empty() {
        let (chunk, later) = rest.split_at(distinct(rest));
        let done = match &failed {
            // What was not sent was not done.
            Some(error) => Err(error.clone().with_may_have_applied(false)),
            None => run_chunk(store, chunk).await,
        };
        match done {
            Ok(done) => answers.extend(done),
            Err(error) => {
                answers.extend(chunk.iter().map(|_| Err(error.clone())));
                failed.get_or_insert(error);
            }
        }
        rest = later;
    }
    (failed, answers)
}

/// How many writes from the first on go in one script call: at most `CHUNK`, to different streams.
fn distinct(writes: &[&Write]) -> usize {
    let mut seen = HashSet::with_capacity(writes.len().min(CHUNK));
    writes.iter().take(CHUNK).take_while(|write| seen.insert(&write.id)).count()
}

/// One script call, then what the script leaves to the client.
async fn run_chunk(store: &Arc<Store>, writes: &[&Write]) -> Result<Vec<Result<()>>> {
    let now = store.link.now().await?.to_string();
    let mut keys = Vec::with_capacity(writes.len() + 3);
    keys.push(store.keys.index().to_owned());
    keys.push(store.keys.feed());
    keys.push(store.keys.facts());
    keys.extend(writes.iter().map(|write| store.keys.record(&write.id)));
    let mut call = WRITE.call(&keys);
    call.arg(store.keys.prefix().len()).arg(&now).arg(store.ttl_ms()).arg(store.ttl_policy());
    // A script takes it that what is not named is a plain heartbeat.
    let named = writes.iter().rposition(|write| !is_plain(write)).map_or(0, |last| last + 1);
    for write in &writes[..named] {
        push_write(&mut call, write);
    }
    let answer = call.run(&store.link, Effect::Write).await?;
    if matches!(answer, Value::Okay) {
        return Ok(writes.iter().map(|_| Ok(())).collect());
    }
    let answers = reply::array(answer)?;
    if answers.len() != writes.len() {
        return Err(unexpected(&Value::Array(answers)));
    }
    let changes = answers.into_iter().zip(writes).map(|(answer, write)| async move {
        match answer {
            Value::Int(code) => outcome(code, &write.id),
            text => replace::change(store, write, reply::text(text)?).await,
        }
    });
    // To different streams, and so independent of one another.
    Ok(futures_util::future::join_all(changes).await)
}

/// What a script's number says.
pub(super) fn outcome(code: i64, id: &StreamId) -> Result<()> {
    match code {
        1 => Ok(()),
        0 => Err(Error::not_found(id)),
        -1 => Err(Error::not_holder(id)),
        -2 => Err(Error::corrupt(id, "the key holds no string; remove it with redis-cli")),
        other => Err(unexpected(&Value::Int(other))),
    }
}

/// What a leased record says of its epoch.
pub(super) fn epoch_field(epoch: &Epoch) -> String {
    let mut field = String::from("\"epoch\":");
    push_json_string(&mut field, epoch.as_str());
    field
}

/// Whether a write is a heartbeat of a stream that is not leased.
fn is_plain(write: &Write) -> bool {
    matches!((&write.change, &write.guard), (Change::Heartbeat, Guard::None))
}

fn push_write(call: &mut ScriptCall<'_>, write: &Write) {
    let verb = match &write.change {
        Change::Heartbeat => "h",
        Change::Status(_) => "s",
        Change::Stats(stats) if has_optional(stats) => "T",
        Change::Stats(_) => "t",
        Change::Patch(_) | Change::Update(_) => "g",
    };
    match &write.guard {
        Guard::None => call.arg(verb),
        Guard::Force => call.arg(format!("{verb}*")),
        Guard::Holder(epoch) => {
            let field = format!(",{}", epoch_field(epoch));
            // With nothing else it says that this is a heartbeat.
            if !matches!(write.change, Change::Heartbeat) {
                call.arg(format!("{verb}="));
            }
            call.arg(field)
        }
    };
    match &write.change {
        Change::Status(status) => {
            let mut text = String::new();
            push_json_string(&mut text, status.as_str());
            // Without its quotes, which the record has already.
            call.arg(&text[1..text.len() - 1]);
        }
        Change::Stats(stats) => push_stats(call, stats),
        _ => {}
    }
}

fn has_optional(stats: &StreamStats) -> bool {
    let StreamStats {
        bytes_received: _,
        packets_received: _,
        packets_lost: _,
        bitrate: _,
        rtt_ms,
        jitter_ms,
        packets_retransmitted,
        packets_dropped,
        viewers,
        frame_rate,
    } = stats;
    rtt_ms.or(*jitter_ms).or(*frame_rate).is_some() || packets_retransmitted.or(*packets_dropped).or(*viewers).is_some()
}

fn push_stats(call: &mut ScriptCall<'_>, stats: &StreamStats) {
    let mut totals = String::with_capacity(96);
    // Writing to a string cannot fail.
    let _ = write!(
        totals,
        r#""bytes_received":{},"packets_received":{},"packets_lost":{}"#,
        stats.bytes_received, stats.packets_received, stats.packets_lost
    );
    call.arg(stats.bitrate).arg(totals);
    if has_optional(stats) {
        for rate in [stats.frame_rate, stats.rtt_ms, stats.jitter_ms] {
            let mut text = String::new();
            if let Some(rate) = rate {
                push_json_float(&mut text, rate);
            }
            call.arg(text);
        }
        for count in [stats.packets_retransmitted, stats.packets_dropped, stats.viewers] {
            call.arg(count.map_or_else(String::new, |count| count.to_string()));
        }
    }
}

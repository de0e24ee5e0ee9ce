//! Compares the index with the records, and looks for keys that never expire.

use std::collections::BTreeSet;
use std::sync::Arc;

use redis::{Pipeline, Value};

use super::Server;
use super::report::{Code, Report};
use crate::error::Result;
use crate::redis::fault::translate;
use crate::redis::ops::page;
use crate::redis::shards::Shard;
use crate::redis::store::Store;
use crate::redis::{record, reply};
use crate::stream::StreamId;

/// Number of keys that one command requests, so that no command blocks Redis for long.
const PAGE: usize = 500;
/// Time that the sweep has to remove an expired stream from the index, in milliseconds. After this time, the stream
/// counts as a fault.
const SWEEP_MS: f64 = 10_000.0;
/// Number of ids that a message names.
const EXAMPLES: usize = 3;
/// The character after the prefix in auxiliary keys.
const AUXILIARY: u8 = 0x1f;

/// What was found in the index and in the keys of a shard.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Number of ids in the index.
    pub(super) ids: u64,
    pub(super) without_record: BTreeSet<Vec<u8>>,
    pub(super) not_in_index: BTreeSet<Vec<u8>>,
    unreadable: BTreeSet<Vec<u8>>,
    without_ttl: BTreeSet<Vec<u8>>,
    /// A key of another registry, whose prefix begins with the prefix of this one.
    pub(super) nested: Option<Vec<u8>>,
    /// Whether the limit of keys was reached.
    pub(super) is_incomplete: bool,
}

/// Number of keys that may still be read.
pub(super) struct Budget(pub(super) u64);

impl Budget {
    /// Takes a page from the budget. Returns false if the budget is used up.
    fn take(&mut self, keys: usize) -> bool {
        let keys = u64::try_from(keys).unwrap_or(u64::MAX);
        let is_left = self.0 >= keys;
        self.0 = self.0.saturating_sub(keys);
        is_left
    }
}

/// The result of reading the index and the keys of a shard.
pub(super) struct Examined<'a> {
    pub(super) shard: &'a Shard,
    pub(super) found: Found,
    /// Whether the index was read.
    pub(super) index: Result<()>,
    /// Whether the keys were read. They are not read if the index was not.
    pub(super) keys: Result<()>,
}

/// What was found on a server.
pub(super) struct OnServer<'a> {
    pub(super) parts: Vec<Examined<'a>>,
    /// Keys with the prefix of the registry that are in none of its shards.
    pub(super) outside: BTreeSet<Vec<u8>>,
}

/// Reads the index of each shard on a server, and all keys of the server once.
pub(super) async fn examine<'a>(server: &Server<'a>, budget: &mut Budget) -> OnServer<'a> {
    let mut examined = OnServer { parts: Vec::new(), outside: BTreeSet::new() };
    for &shard in &server.shards {
        let mut found = Found::default();
        let index = read_index(&shard.store, budget, &mut found).await;
        examined.parts.push(Examined { shard, found, index, keys: Ok(()) });
    }
    if let Err(error) = read_keys(server, budget, &mut examined).await {
        for part in examined.parts.iter_mut().filter(|part| part.index.is_ok() && part.keys.is_ok()) {
            part.keys = Err(error.clone());
        }
    }
    examined
}

/// Reads the whole index, and the record of each id.
async fn read_index(store: &Arc<Store>, budget: &mut Budget, found: &mut Found) -> Result<()> {
    let mut position = 0;
    loop {
        let scanned = page::scan(store, position, PAGE).await?;
        for ids in scanned.ids.chunks(PAGE) {
            found.ids += u64::try_from(ids.len()).unwrap_or(0);
            check_records(store, ids, found).await?;
        }
        position = scanned.next;
        if position == 0 {
            return Ok(());
        }
        if !budget.take(PAGE) {
            found.is_incomplete = true;
            return Ok(());
        }
    }
}

async fn check_records(store: &Store, ids: &[Vec<u8>], found: &mut Found) -> Result<()> {
    if ids.is_empty() {
        return Ok(());
    }
    let mut missing = Vec::new();
    for (id, json) in ids.iter().zip(records(store, ids).await?) {
        match json {
            Some(json) if is_readable(id, &json) => {}
            Some(_) => {
                found.unreadable.insert(id.clone());
            }
            None => missing.push(id.clone()),
        }
    }
    // `MGET` returns nil for a key of another type too.
    let mut pipeline = redis::pipe();
    for id in &missing {
        pipeline.cmd("TYPE").arg(store.keys.record_bytes(id));
    }
    let types = read_many(store, &pipeline).await?;
    let mut without_record = Vec::new();
    for (id, kind) in missing.into_iter().zip(types) {
        if reply::bytes(kind)? == b"none" {
            without_record.push(id);
        } else {
            found.unreadable.insert(id);
        }
    }
    if !without_record.is_empty() {
        let expiring = expiring(store, &without_record).await;
        let mut kept: Vec<_> =
            without_record.into_iter().zip(expiring).filter(|(_, expiring)| !expiring).map(|(id, _)| id).collect();
        // Streams may have been removed between the two commands. Without the right to check this, all are reported.
        let gone = not_in_index(store, kept.clone()).await.unwrap_or_default();
        kept.retain(|id| !gone.contains(id));
        found.without_record.extend(kept);
    }
    Ok(())
}

/// Returns, for each id, whether the sweep is going to remove it soon. If the schedule cannot be read, returns false.
async fn expiring(store: &Store, ids: &[Vec<u8>]) -> Vec<bool> {
    let now = store.link.estimated_now().as_unix_nanos() / 1_000_000;
    let mut command = redis::cmd("ZMSCORE");
    command.arg(store.keys.due()).arg(ids);
    let scores = store.bulk.read(&command).await.and_then(reply::array).unwrap_or_default();
    let score = |value: &Value| match value {
        Value::Double(score) => Some(*score),
        Value::BulkString(text) => std::str::from_utf8(text).ok()?.parse().ok(),
        Value::Int(_) => reply::number(value).ok().map(|score| score as f64),
        _ => None,
    };
    let is_due_soon = |at: usize| scores.get(at).and_then(score).is_some_and(|score| score + SWEEP_MS > now as f64);
    (0..ids.len()).map(is_due_soon).collect()
}

/// Reads the names of all keys of a server, and checks the keys of each shard.
async fn read_keys(server: &Server<'_>, budget: &mut Budget, examined: &mut OnServer<'_>) -> Result<()> {
    let Some(store) = server.shards.first().map(|shard| &shard.store) else { return Ok(()) };
    if examined.parts.iter().all(|part| part.index.is_err()) {
        return Ok(());
    }
    // A server returns the keys of all its shards together, so they are read once for all of them.
    let prefix = &store.options.prefix;
    let pattern = pattern(prefix);
    let mut position = b"0".to_vec();
    loop {
        if !budget.take(PAGE) {
            examined.parts.iter_mut().for_each(|part| part.found.is_incomplete = true);
            return Ok(());
        }
        let mut command = redis::cmd("SCAN");
        command.arg(&position).arg("MATCH").arg(&pattern).arg("COUNT").arg(PAGE);
        let mut scanned = reply::array(server.bulk.read(&command).await?)?.into_iter();
        position = reply::bytes(scanned.next().unwrap_or(Value::Nil))?;
        let keys = reply::array(scanned.next().unwrap_or(Value::Nil))?;
        let mut keys = keys.into_iter().map(reply::bytes).collect::<Result<Vec<_>>>()?;
        for part in &mut examined.parts {
            let own = part.shard.store.keys.prefix().as_bytes();
            let (mine, others) = keys.into_iter().partition::<Vec<_>, _>(|key| key.starts_with(own));
            keys = others;
            if part.index.is_ok() && part.keys.is_ok() {
                part.keys = check_all(&part.shard.store, &mine, &mut part.found).await;
            }
        }
        examined.outside.extend(keys.into_iter().filter(|key| is_outside(&key[prefix.len()..])));
        if position == b"0" {
            return Ok(());
        }
    }
}

/// Returns whether a key that is in no shard belongs to this registry. `rest` is the key without the prefix.
///
/// If another registry's prefix begins with the prefix of this one, its keys have the hash tag later in the key.
fn is_outside(rest: &[u8]) -> bool {
    rest.first() == Some(&b'{') || !rest.contains(&b'{')
}

async fn check_all(store: &Store, keys: &[Vec<u8>], found: &mut Found) -> Result<()> {
    for keys in keys.chunks(PAGE) {
        check_keys(store, keys, found).await?;
    }
    Ok(())
}

/// Returns the pattern of all keys with a prefix. A prefix contains no asterisk.
fn pattern(prefix: &str) -> String {
    let mut pattern = String::with_capacity(prefix.len() + 1);
    for one in prefix.chars() {
        if matches!(one, '?' | '[' | ']' | '\\') {
            pattern.push('\\');
        }
        pattern.push(one);
    }
    pattern.push('*');
    pattern
}

async fn check_keys(store: &Store, keys: &[Vec<u8>], found: &mut Found) -> Result<()> {
    let permanent = [store.keys.index().to_owned(), store.keys.feed(), store.keys.feed_metadata(), store.keys.due()];
    let keys: Vec<_> = keys.iter().filter(|key| !permanent.iter().any(|one| one.as_bytes() == **key)).collect();
    let suffix = |key: &[u8]| key[store.keys.prefix().len()..].to_vec();
    let mut ids = Vec::new();
    let mut pipeline = redis::pipe();
    for key in &keys {
        pipeline.cmd("PTTL").arg(*key);
        let suffix = suffix(key);
        if suffix.first() == Some(&AUXILIARY) {
            continue;
        }
        // Stream ids contain no control characters, so this is an auxiliary key of another registry.
        if suffix.contains(&AUXILIARY) {
            found.nested.get_or_insert((*key).clone());
        } else {
            ids.push(suffix);
        }
    }
    for (key, remaining) in keys.iter().zip(read_many(store, &pipeline).await?) {
        if reply::number(&remaining)? == -1 {
            found.without_ttl.insert((*key).clone());
        }
    }
    let unindexed = not_in_index(store, ids).await?;
    if unindexed.is_empty() {
        return Ok(());
    }
    let records = records(store, &unindexed).await?;
    let readable =
        unindexed.into_iter().zip(records).filter(|(id, json)| json.as_ref().is_some_and(|json| is_readable(id, json)));
    // Streams may have been registered or removed between the two commands, so the index is read again.
    found.not_in_index.extend(not_in_index(store, readable.map(|(id, _)| id).collect()).await?);
    Ok(())
}

/// Returns the ids that are not in the index.
async fn not_in_index(store: &Store, ids: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>> {
    if ids.is_empty() {
        return Ok(ids);
    }
    let mut command = redis::cmd("SMISMEMBER");
    command.arg(store.keys.index()).arg(&ids);
    let members = reply::array(store.bulk.read(&command).await?)?;
    let members = members.iter().map(reply::number).collect::<Result<Vec<_>>>()?;
    Ok(ids.into_iter().zip(members).filter(|(_, member)| *member == 0).map(|(id, _)| id).collect())
}

async fn records(store: &Store, ids: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>> {
    let mut command = redis::cmd("MGET");
    for id in ids {
        command.arg(store.keys.record_bytes(id));
    }
    reply::array(store.bulk.read(&command).await?)?.into_iter().map(reply::optional_bytes).collect()
}

async fn read_many(store: &Store, pipeline: &Pipeline) -> Result<Vec<Value>> {
    if pipeline.is_empty() {
        return Ok(Vec::new());
    }
    let answers = store.bulk.read_many(pipeline).await?.into_iter();
    answers.map(|answer| reply::checked(answer).map_err(|error| translate(error, false))).collect()
}

fn is_readable(id: &[u8], json: &[u8]) -> bool {
    let id = std::str::from_utf8(id).ok().and_then(|id| id.parse::<StreamId>().ok());
    id.is_some_and(|id| record::decode(&id, json).is_ok())
}

/// Reports the faults that were found in a shard.
pub(super) fn judge(report: &mut Report, found: &Found) {
    const REPAIR: &str = "run streamreg doctor --repair, or RedisRegistry::repair_index in the library";
    let Found { without_record, not_in_index, unreadable, without_ttl, .. } = found;
    if !without_record.is_empty() {
        let message = format!("ids in the index without a record: {}", examples(without_record));
        report.warning(Code::WithoutRecord, message, REPAIR);
    }
    if !unreadable.is_empty() {
        let message = format!("records that cannot be decoded, so lists skip them: {}", examples(unreadable));
        let remedy =
            "find the program that writes them; streamreg unregister --force removes a record that is a string";
        report.warning(Code::Unreadable, message, remedy);
    }
    if let Some(key) = &found.nested {
        let key = String::from_utf8_lossy(key).into_owned();
        let message = format!("the prefix of another registry begins with the prefix of this one: key {key:?}");
        report.error(Code::NestedPrefix, message, "give one of them another prefix, e.g. media:us: and media:eu:");
    }
    if !not_in_index.is_empty() {
        let message =
            format!("records that are missing from the index, so lists lack them: {}", examples(not_in_index));
        report.warning(Code::NotInIndex, message, REPAIR);
    }
    if !without_ttl.is_empty() {
        let message = format!("keys that never expire: {}", examples(without_ttl));
        let remedy =
            "a record gets a time to live with the next write; unregister it, or delete the key, if none follows";
        report.warning(Code::WithoutTtl, message, remedy);
    }
}

/// Reports keys that are in no shard of a cluster.
pub(super) fn judge_outside(report: &mut Report, outside: &BTreeSet<Vec<u8>>) {
    if !outside.is_empty() {
        let message = format!("keys with the prefix of the registry that are in no shard: {}", examples(outside));
        let remedy =
            "find the program that writes them: it does not use the shards; delete what an earlier layout left";
        report.warning(Code::OutsideShards, message, remedy);
    }
}

/// Reports the parts without a fault. `ids` is the number of ids in all indexes, `None` if no index was read.
/// `has_all_keys` says whether all keys were read.
pub(super) fn judge_faultless(report: &mut Report, ids: Option<u64>, has_all_keys: bool) {
    if let Some(ids) = ids.filter(|_| !report.has(Code::WithoutRecord)) {
        report.ok(Code::WithoutRecord, format!("each of the {ids} ids in the index has a record or has just expired"));
    }
    if has_all_keys && !report.has(Code::NotInIndex) {
        report.ok(Code::NotInIndex, "no record is missing from the index");
    }
    if has_all_keys && !report.has(Code::WithoutTtl) {
        report.ok(Code::WithoutTtl, "every key that should expire has a time to live");
    }
}

/// Formats a number of ids or keys with some of them.
fn examples(all: &BTreeSet<Vec<u8>>) -> String {
    let named: Vec<_> = all.iter().take(EXAMPLES).map(|one| format!("{:?}", String::from_utf8_lossy(one))).collect();
    let more = if all.len() > EXAMPLES { ", …" } else { "" };
    format!("{} ({}{more})", all.len(), named.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pattern_matches_only_the_prefix() {
        assert_eq!(pattern("mirror:streams:{53t}:"), "mirror:streams:{53t}:*");
        assert_eq!(pattern(r"a?[b]\:"), r"a\?\[b\]\\:*");
    }

    #[test]
    fn key_is_outside_the_shards_unless_it_is_of_another_registry() {
        for (rest, is_ours) in [("cam1", true), ("{17}:cam1", true), ("\u{1f}feed", true), ("eu:{53t}:cam1", false)] {
            assert_eq!(is_outside(rest.as_bytes()), is_ours, "{rest}");
        }
    }

    #[test]
    fn message_names_three_ids_at_most() {
        let ids = |names: &[&str]| names.iter().map(|name| name.as_bytes().to_vec()).collect();
        assert_eq!(examples(&ids(&["a", "b\n"])), r#"2 ("a", "b\n")"#);
        assert_eq!(examples(&ids(&["a", "b", "c", "d"])), r#"4 ("a", "b", "c", …)"#);
    }
}

//! Checks the layout, the index, the keys and the feed of each shard.

use super::feed;
use super::index::{self, Budget, Examined};
use super::merge::{Part, merge};
use super::report::{Code, Report, Severity};
use super::{DiagnoseOptions, Server};
use crate::error::{Error, ErrorKind, Result};
use crate::redis::ops::layout;
use crate::redis::shards::{Shard, Shards};

/// What was found in all shards together.
#[derive(Default)]
struct Totals {
    /// Number of ids in the indexes that were read. `None` if none was read.
    ids: Option<u64>,
    /// Whether the keys of a shard were not read, or not all of them.
    lacks_keys: bool,
    is_incomplete: bool,
    feeds: feed::Faultless,
    /// Number of shards that store the right layout.
    laid_out: usize,
}

/// Checks the shards on servers that can be reached.
pub(super) async fn check(
    report: &mut Report,
    shards: &Shards,
    servers: &[Server<'_>],
    options: &DiagnoseOptions,
) -> Result<()> {
    let mut budget = Budget(options.max_keys);
    let mut totals = Totals::default();
    let mut parts = Vec::new();
    for server in servers {
        let examined = index::examine(server, &mut budget).await;
        for examined in examined.parts {
            let shard = examined.shard;
            let mut own = Report::default();
            own.about(server.node.clone());
            let checked = check_shard(&mut own, shards, examined, &mut totals).await;
            if let Err(error) = checked {
                unless_part(&mut own, shard, error)?;
            }
            parts.push(Part { label: shard.label(), findings: own.into_findings() });
        }
        report.about(server.node.clone());
        index::judge_outside(report, &examined.outside);
    }
    report.about(None);
    judge_layout(report, &mut parts, totals.laid_out);
    merge(report, parts);
    index::judge_faultless(report, totals.ids, totals.ids.is_some() && !totals.lacks_keys && !totals.is_incomplete);
    feed::judge_faultless(report, &totals.feeds);
    if totals.is_incomplete {
        let message = format!("only {} keys and index entries were read", options.max_keys);
        report.finding(Code::KeyLimit, Severity::Unchecked, message, "raise the limit with --max-keys");
    }
    Ok(())
}

/// Reports that a shard of a cluster cannot be read. If there is no other shard, returns the error.
fn unless_part(report: &mut Report, shard: &Shard, error: Error) -> Result<()> {
    if shard.label().is_none() {
        return Err(error);
    }
    let message = format!("cannot be read: {}", error.message());
    report.error(Code::Nodes, message, "check the node and the network; if its slot is being moved, try again later");
    Ok(())
}

async fn check_shard(report: &mut Report, shards: &Shards, examined: Examined<'_>, totals: &mut Totals) -> Result<()> {
    let Examined { shard, found, index, keys } = examined;
    totals.is_incomplete |= found.is_incomplete;
    index::judge(report, &found);
    let rights = "+sscan +scard +hmget +mget +type";
    let has_index = match report.allowed(Code::WithoutRecord, "the index", rights, index) {
        Err(error) if error.kind() == ErrorKind::Corrupt => {
            let message = "the index holds a value of another type, so lists fail";
            let remedy = "inspect the key and delete it; each stream's next write restores its entry";
            report.error(Code::WithoutRecord, message, remedy);
            false
        }
        index => index?.is_some(),
    };
    let mut has_keys = false;
    if has_index {
        *totals.ids.get_or_insert(0) += found.ids;
        let part = "records that are missing from the index, and keys without a time to live";
        has_keys = report.allowed(Code::NotInIndex, part, "+scan +pttl +smismember +mget", keys)?.is_some();
    }
    totals.lacks_keys |= !has_keys;
    if shard.label().is_some() {
        check_layout(report, shards, shard, totals).await?;
    }
    feed::check(report, &shard.store, &mut totals.feeds).await
}

/// Checks the layout that a shard of a cluster stores.
async fn check_layout(report: &mut Report, shards: &Shards, shard: &Shard, totals: &mut Totals) -> Result<()> {
    let wanted = shards.layout();
    let stored = layout::read(&shard.store.link, &shard.store.keys).await;
    match report.allowed(Code::Layout, "the stored number of shards", "+hmget", stored)? {
        Some(Some(stored)) if stored == wanted => totals.laid_out += 1,
        Some(Some(stored)) => {
            let message = format!(
                "the stored layout is {:?} shards by the function {:?}, so programs cannot connect; expected {} by {}",
                stored.shards, stored.function, wanted.shards, wanted.function
            );
            report.error(Code::Layout, message, "find the program that changes the key; correct its fields with HSET");
        }
        Some(None) => {
            let message = "the stored number of shards is missing, so a program could use another one";
            let remedy = "run a process with the rights of the role sweeper, e.g. streamreg serve, which stores it";
            report.warning(Code::Layout, message, remedy);
        }
        None => {}
    }
    Ok(())
}

/// Reports that the layout is stored in all shards. In a new registry, no shard stores it yet, which is no fault.
fn judge_layout(report: &mut Report, parts: &mut [Part<'_>], laid_out: usize) {
    let is_missing = |severity| severity == Severity::Warning;
    let count = parts.iter().filter(|part| part.label.is_some()).count();
    let layouts = || parts.iter().flat_map(|part| &part.findings).filter(|finding| finding.code == Code::Layout);
    if count > 0 && laid_out == count {
        report.ok(Code::Layout, format!("the number of shards is stored in each of {count} shards"));
    } else if count > 0 && laid_out == 0 && layouts().filter(|finding| is_missing(finding.severity)).count() == count {
        for part in parts {
            part.findings.retain(|finding| finding.code != Code::Layout);
        }
        report.ok(Code::Layout, "the registry is new: the first program that writes stores the number of shards");
    }
}

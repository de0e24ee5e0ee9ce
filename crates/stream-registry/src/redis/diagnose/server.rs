//! Checks of one server: its limits, its memory, and what it saves to disk.

use super::info::Values;
use super::report::{Code, Report};

/// Share of a limit, in percent, from which it counts as almost reached.
const ALMOST: u64 = 80;

/// Checks the number of open connections.
pub(super) fn connections(report: &mut Report, info: &Values) {
    let (used, limit) = (info.number("connected_clients"), info.number("maxclients"));
    let message = format!("{used} of at most {limit} connections are open");
    if limit > 0 && used * 100 >= limit * ALMOST {
        report.warning(Code::Connections, message, "raise maxclients, or close connections of other programs");
    } else {
        report.ok(Code::Connections, message);
    }
}

/// Checks the used memory, and what happens when it is full.
pub(super) fn memory(report: &mut Report, info: &Values) {
    let (used, limit) = (info.number("used_memory"), info.number("maxmemory"));
    let policy = info.get("maxmemory_policy");
    if policy == "noeviction" {
        report.ok(Code::EvictionPolicy, "maxmemory-policy is noeviction");
    } else {
        report.warning(
            Code::EvictionPolicy,
            format!("maxmemory-policy is {policy}, so Redis may delete live streams when its memory is full"),
            "CONFIG SET maxmemory-policy noeviction, and set it in the configuration file",
        );
    }
    let evicted = info.number("evicted_keys");
    if evicted > 0 {
        let message = format!("Redis has deleted {evicted} keys since its start because its memory was full");
        report.error(Code::EvictionPolicy, message, "set maxmemory-policy to noeviction, and raise maxmemory");
    }
    let message = match limit {
        0 => format!("{} are used; maxmemory sets no limit", megabytes(used)),
        _ => format!("{} of at most {} are used", megabytes(used), megabytes(limit)),
    };
    let remedy = "raise maxmemory, or remove keys of other programs";
    if limit > 0 && used >= limit {
        report.error(Code::Memory, format!("{message}; Redis rejects new streams"), remedy);
    } else if limit > 0 && used >= limit / 100 * ALMOST {
        report.warning(Code::Memory, message, remedy);
    } else {
        report.ok(Code::Memory, message);
    }
}

/// Formats a number of bytes.
fn megabytes(bytes: u64) -> String {
    let tenths = bytes / 100_000;
    format!("{}.{} MB", tenths / 10, tenths % 10)
}

/// Checks what a restart of the server loses. `has_replicas` says whether replicas would copy its empty state.
pub(super) fn persistence(report: &mut Report, info: &Values, settings: Option<&Values>, has_replicas: bool) {
    const APPEND: &str = "set appendonly yes and appendfsync everysec";
    let appends = info.number("aof_enabled") == 1;
    let Some(settings) = settings else {
        if appends {
            report.ok(Code::Persistence, "appendonly is yes");
        } else {
            report.unchecked(Code::Persistence, "whether Redis saves snapshots", "+config|get");
        }
        return;
    };
    let snapshots = !settings.get("save").is_empty();
    if appends && settings.get("appendfsync") == "no" {
        let message = "appendfsync is no: a crash of the machine can lose the changes of half a minute";
        report.warning(Code::Persistence, message, "set appendfsync everysec");
    } else if appends {
        report.ok(Code::Persistence, "appendonly is yes: a restart loses at most one second of changes");
    } else if snapshots {
        let message = "Redis saves only snapshots: a restart loses the changes since the last one, and streams that \
                       were registered since are missing until their nodes register them again";
        report.warning(Code::Persistence, message, APPEND);
    } else if has_replicas {
        let message = "Redis saves nothing: if the primary restarts before a failover, it is empty, and its replicas \
                       then delete their data too";
        report.error(Code::Persistence, message, format!("{APPEND}, on the replicas too"));
    } else {
        let message = "Redis saves nothing: a restart loses all streams until their nodes register them again, and \
                       the change feed";
        report.warning(Code::Persistence, message, APPEND);
    }
}

/// Checks whether the last save to disk succeeded, and whether a failure stops writes.
pub(super) fn last_save(report: &mut Report, info: &Values, settings: Option<&Values>) {
    const REMEDY: &str = "look for the reason in the log of Redis, e.g. a full disk";
    let stops = settings.is_none_or(|settings| settings.get("stop-writes-on-bgsave-error") == "yes");
    let snapshots = settings.is_none_or(|settings| !settings.get("save").is_empty());
    let failed = |name: &str| !matches!(info.get(name), "" | "ok");
    if failed("aof_last_write_status") {
        report.error(Code::LastSave, "the last write to the append-only file failed; Redis rejects writes", REMEDY);
    } else if failed("rdb_last_bgsave_status") && stops && snapshots {
        report.error(Code::LastSave, "the last snapshot failed, so Redis rejects writes", REMEDY);
    } else if failed("rdb_last_bgsave_status") || failed("aof_last_bgrewrite_status") {
        report.warning(Code::LastSave, "the last save to disk failed", REMEDY);
    } else if stops && snapshots {
        let message = "the last save succeeded; if one fails, Redis rejects writes (stop-writes-on-bgsave-error)";
        report.ok(Code::LastSave, message);
    } else {
        report.ok(Code::LastSave, "no save has failed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redis::diagnose::report::Severity;

    /// Returns the severity and the message of the worst finding.
    fn worst(check: impl Fn(&mut Report)) -> (Severity, String) {
        let mut report = Report::default();
        check(&mut report);
        let found = report.finish().findings.into_iter().max_by_key(|finding| finding.severity);
        found.map(|finding| (finding.severity, finding.message)).unwrap()
    }

    #[test]
    fn connections_are_reported_before_the_limit_is_reached() {
        for (used, severity) in [("79", Severity::Ok), ("80", Severity::Warning)] {
            let info = Values::of(&[("connected_clients", used), ("maxclients", "100")]);
            assert_eq!(worst(|report| connections(report, &info)).0, severity);
        }
    }

    #[test]
    fn memory_is_reported_before_it_is_full() {
        for (used, limit, policy, evicted, severity) in [
            ("70", "0", "noeviction", "0", Severity::Ok),
            ("700", "1000", "noeviction", "0", Severity::Ok),
            ("800", "1000", "noeviction", "0", Severity::Warning),
            ("1000", "1000", "noeviction", "0", Severity::Error),
            ("70", "0", "allkeys-lru", "0", Severity::Warning),
            ("70", "0", "noeviction", "1", Severity::Error),
        ] {
            let info = Values::of(&[
                ("used_memory", used),
                ("maxmemory", limit),
                ("maxmemory_policy", policy),
                ("evicted_keys", evicted),
            ]);
            assert_eq!(worst(|report| memory(report, &info)).0, severity, "{used} {limit} {policy} {evicted}");
        }
    }

    #[test]
    fn persistence_is_judged_by_what_a_restart_loses() {
        for (aof, save, fsync, replicas, severity, message) in [
            ("1", "", "everysec", true, Severity::Ok, "one second"),
            ("1", "", "no", false, Severity::Warning, "appendfsync is no"),
            ("0", "60 1", "everysec", false, Severity::Warning, "only snapshots"),
            ("0", "", "everysec", false, Severity::Warning, "saves nothing"),
            ("0", "", "everysec", true, Severity::Error, "its replicas then delete"),
        ] {
            let info = Values::of(&[("aof_enabled", aof)]);
            let settings = Values::of(&[("save", save), ("appendfsync", fsync)]);
            let found = worst(|report| persistence(report, &info, Some(&settings), replicas));
            assert!(found.0 == severity && found.1.contains(message), "{found:?}");
        }
        let unknown = worst(|report| persistence(report, &Values::of(&[("aof_enabled", "0")]), None, false));
        assert_eq!(unknown.0, Severity::Unchecked);
    }

    #[test]
    fn failed_save_is_an_error_if_it_stops_writes() {
        for (rdb, aof, stops, save, severity) in [
            ("ok", "ok", "yes", "60 1", Severity::Ok),
            ("err", "ok", "yes", "60 1", Severity::Error),
            ("err", "ok", "no", "60 1", Severity::Warning),
            ("err", "ok", "yes", "", Severity::Warning),
            ("ok", "err", "no", "", Severity::Error),
        ] {
            let info = Values::of(&[("rdb_last_bgsave_status", rdb), ("aof_last_write_status", aof)]);
            let settings = Values::of(&[("stop-writes-on-bgsave-error", stops), ("save", save)]);
            let found = worst(|report| last_save(report, &info, Some(&settings)));
            assert_eq!(found.0, severity, "{rdb} {aof} {stops} {save:?}");
        }
    }
}

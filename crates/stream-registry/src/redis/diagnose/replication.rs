//! Checks of a primary's replicas, and of a replica's link to its primary.

use super::info::Values;
use super::report::{Code, Report};

/// A replica that has not answered for this long, in seconds, counts as lagging.
const MAX_LAG: u64 = 10;

/// Checks the link of a replica to its primary.
pub(super) fn primary_link(report: &mut Report, info: &Values) {
    let primary = format!("{}:{}", info.get("master_host"), info.get("master_port"));
    if info.get("master_link_status") == "up" {
        report.ok(Code::PrimaryLink, format!("the link to the primary {primary} is up"));
    } else {
        let message = format!("the link to the primary {primary} is down, so this replica has old data");
        report.error(Code::PrimaryLink, message, "check the primary, the network and masterauth; see the log of Redis");
    }
}

/// Checks the replicas of a primary. `needs_one` says whether a failover is expected to work.
pub(super) fn replicas(report: &mut Report, info: &Values, needs_one: bool) {
    let replicas = info.replicas();
    if replicas.is_empty() && needs_one {
        let message = "the primary has no replica, so a failover is impossible";
        report.error(Code::Replicas, message, "start a replica, and check its masterauth and its log");
    } else if replicas.is_empty() {
        report.ok(Code::Replicas, "the server has no replicas");
    }
    let mut healthy = 0;
    for replica in &replicas {
        let address = &replica.address;
        if !replica.is_online {
            let message = format!("the replica {address} is not online yet, so a failover to it loses data");
            report.warning(Code::Replicas, message, "wait until it is synchronised; see its log if this takes long");
        } else if replica.lag > MAX_LAG {
            let message = format!("the replica {address} has not answered for {} s", replica.lag);
            report.warning(Code::Replicas, message, "check the replica and the network");
        } else {
            healthy += 1;
        }
    }
    if healthy > 0 {
        let lag = replicas.iter().map(|replica| replica.lag).max().unwrap_or(0);
        let are = if healthy == 1 { "replica is" } else { "replicas are" };
        report.ok(Code::Replicas, format!("{healthy} {are} online; the longest lag is {lag} s"));
    }
}

/// Checks how many replicas a write needs.
pub(super) fn min_replicas(report: &mut Report, info: &Values, settings: &Values) {
    let (needed, max_lag) = (settings.number("min-replicas-to-write"), settings.number("min-replicas-max-lag"));
    let replicas = info.replicas();
    if needed == 0 || max_lag == 0 {
        if !replicas.is_empty() {
            let message = "a primary that is cut off from its replicas still accepts writes, which the failover loses";
            report.warning(Code::MinReplicas, message, "set min-replicas-to-write 1 and min-replicas-max-lag 10");
        }
        return;
    }
    let good = replicas.iter().filter(|replica| replica.is_online && replica.lag <= max_lag).count();
    let message = format!("replicas that a write needs: {needed}; replicas with a lag of at most {max_lag} s: {good}");
    if u64::try_from(good).unwrap_or(u64::MAX) < needed {
        let message = format!("{message}; Redis rejects writes");
        report.error(Code::MinReplicas, message, "bring the replicas back, or lower min-replicas-to-write");
    } else {
        report.ok(Code::MinReplicas, message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redis::diagnose::report::{Severity, worst};

    const ONLINE: (&str, &str) = ("slave0", "ip=h,port=1,state=online,offset=1,lag=0");

    #[test]
    fn replicas_are_reported_if_a_failover_to_them_would_lose_data() {
        for (replica, needs_one, severity) in [
            (None, false, Severity::Ok),
            (None, true, Severity::Error),
            (Some(ONLINE.1), true, Severity::Ok),
            (Some("ip=h,port=1,state=wait_bgsave,offset=1,lag=0"), true, Severity::Warning),
            (Some("ip=h,port=1,state=online,offset=1,lag=11"), true, Severity::Warning),
        ] {
            let line = replica.map(|replica| ("slave0", replica));
            let info = Values::of(line.as_slice());
            assert_eq!(worst(|report| replicas(report, &info, needs_one)), Some(severity), "{replica:?}");
        }
    }

    #[test]
    fn writes_that_need_more_replicas_than_there_are_is_an_error() {
        let behind = ("slave0", "ip=h,port=1,state=online,offset=1,lag=9");
        for (replicas, needed, lag, severity) in [
            (&[][..], "0", "10", None),
            (&[ONLINE], "0", "10", Some(Severity::Warning)),
            (&[ONLINE], "1", "0", Some(Severity::Warning)),
            (&[ONLINE], "1", "10", Some(Severity::Ok)),
            (&[ONLINE], "2", "10", Some(Severity::Error)),
            (&[behind], "1", "5", Some(Severity::Error)),
            (&[], "1", "10", Some(Severity::Error)),
        ] {
            let settings = Values::of(&[("min-replicas-to-write", needed), ("min-replicas-max-lag", lag)]);
            let info = Values::of(replicas);
            let found = worst(|report| min_replicas(report, &info, &settings));
            assert_eq!(found, severity, "{replicas:?} {needed} {lag}");
        }
    }

    #[test]
    fn broken_link_of_a_replica_is_an_error() {
        for (status, severity) in [("up", Severity::Ok), ("down", Severity::Error)] {
            let info = Values::of(&[("master_link_status", status)]);
            assert_eq!(worst(|report| primary_link(report, &info)), Some(severity));
        }
    }
}

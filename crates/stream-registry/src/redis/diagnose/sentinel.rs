//! Checks of the Sentinels: whether they answer, agree, and can start a failover that clients can follow.

use std::collections::BTreeSet;
use std::net::IpAddr;

use redis::{Cmd, Value};

use super::report::{Code, Report, is_refused};
use crate::error::Result;
use crate::redis::connect::sentinel::Sentinels;
use crate::redis::reply;
use crate::redis::servers::Address;
use crate::tls::options::TlsOptions;

/// Minimum number of Sentinels. With fewer Sentinels, the others have no majority if one fails or is cut off.
const MIN_SENTINELS: usize = 3;

/// A Sentinel's description of the service.
#[derive(Default)]
struct Described {
    /// Number of Sentinels that this one knows, itself included.
    known: usize,
    flags: String,
}

fn command(words: &[&str]) -> Cmd {
    let mut command = redis::cmd("SENTINEL");
    command.arg(words);
    command
}

/// Checks all Sentinels of the store URL.
pub(super) async fn check(report: &mut Report, sentinels: &Sentinels) -> Result<()> {
    let service = sentinels.service();
    answers(report, sentinels).await?;
    let described = sentinels.ask_each(&command(&["MASTER", service])).await;
    let described: Vec<_> = described.into_iter().map(|(_, answer)| answer).filter(no_outage).collect();
    let described: Result<Vec<Described>> = described.into_iter().map(|answer| Ok(describe(&answer?))).collect();
    let rights = "+sentinel|master on the Sentinels";
    if let Some(described) = report.allowed(Code::Sentinels, "the service of each Sentinel", rights, described)? {
        service_state(report, &described, sentinels.count());
    }
    quorum(report, sentinels).await
}

/// A Sentinel that does not answer is reported once, by [`answers`].
fn no_outage<T>(answer: &Result<T>) -> bool {
    answer.as_ref().err().is_none_or(is_refused)
}

fn describe(answer: &Value) -> Described {
    let field = |name: &str| reply::field(answer, name).unwrap_or_default();
    Described { known: field("num-other-sentinels").parse::<usize>().unwrap_or(0) + 1, flags: field("flags") }
}

/// Checks which Sentinels answer, and whether they name the same primary.
async fn answers(report: &mut Report, sentinels: &Sentinels) -> Result<()> {
    let answers = sentinels.ask_each(&command(&["GET-MASTER-ADDR-BY-NAME", sentinels.service()])).await;
    let total = answers.len();
    let mut named = BTreeSet::new();
    let mut silent = Vec::new();
    for (address, answer) in answers {
        match answer.and_then(reply::array_or_nil) {
            Ok(None) => silent.push(format!("{address} (it does not monitor {:?})", sentinels.service())),
            Ok(Some(parts)) => {
                let parts =
                    parts.into_iter().map(|part| Ok(String::from_utf8_lossy(&reply::bytes(part)?).into_owned()));
                named.insert(parts.collect::<Result<Vec<_>>>()?.join(":"));
            }
            Err(error) => silent.push(format!("{address} ({})", error.message())),
        }
    }
    let answering = total - silent.len();
    if silent.is_empty() {
        report.ok(Code::Sentinels, format!("all {total} Sentinels of the store URL answer"));
    } else {
        let message = format!("{answering} of {total} Sentinels name the primary; these do not: {}", silent.join(", "));
        let remedy = "start them, or correct their configuration, the store URL or the rights of its user";
        report.warning(Code::Sentinels, message, remedy);
    }
    if named.len() > 1 {
        let named: Vec<_> = named.into_iter().collect();
        let message = format!("the Sentinels name different primaries: {}", named.join(" and "));
        report.error(
            Code::Sentinels,
            message,
            "check the network between the Sentinels; a failover may be in progress",
        );
    }
    Ok(())
}

fn service_state(report: &mut Report, described: &[Described], in_url: usize) {
    let Some(known) = described.iter().map(|described| described.known).max() else { return };
    if known < MIN_SENTINELS {
        let message = format!("there are only {known} Sentinels, so the loss of one can prevent a failover");
        report.warning(Code::Sentinels, message, "run at least 3, on different machines");
    }
    if in_url < known {
        let message = format!("the store URL names {in_url} of {known} Sentinels");
        report.warning(Code::Sentinels, message, "add the others, so that clients can connect if some are down");
    }
    if let Some(described) = described.iter().find(|described| described.flags.contains("_down")) {
        let message = format!("a Sentinel considers the primary as down (flags {})", described.flags);
        report.error(Code::Sentinels, message, "check the primary and the network");
    }
}

/// Checks whether enough Sentinels can reach each other to start a failover.
async fn quorum(report: &mut Report, sentinels: &Sentinels) -> Result<()> {
    let checks = sentinels.ask_each(&command(&["CKQUORUM", sentinels.service()])).await;
    let mut good = 0;
    for (address, answer) in checks {
        match answer {
            Ok(_) => good += 1,
            Err(error) if error.message().contains("NOQUORUM") => {
                let message = format!("the Sentinel at {address} sees too few others to start a failover");
                let remedy = "start the missing Sentinels, or SENTINEL RESET if some were removed for ever";
                report.error(Code::Quorum, message, remedy);
            }
            Err(error) if is_refused(&error) => {
                report.unchecked(Code::Quorum, "the quorum", "+sentinel|ckquorum on the Sentinels");
                return Ok(());
            }
            // A Sentinel that does not answer has been reported.
            Err(_) => {}
        }
    }
    if good > 0 {
        let see = if good == 1 { "Sentinel sees" } else { "Sentinels see" };
        report.ok(Code::Quorum, format!("{good} {see} enough others to start a failover"));
    }
    Ok(())
}

/// Checks the settings of host names, which must fit the names in the certificates. `servers` are the announced
/// addresses of the primary and its replicas. `names_match` says whether the certificates of all of them contain these.
pub(super) async fn host_names(
    report: &mut Report,
    sentinels: &Sentinels,
    tls: &TlsOptions,
    servers: &[Address],
    names_match: bool,
) -> Result<()> {
    let answers = sentinels.ask_each(&command(&["CONFIG", "GET", "*-hostnames"])).await;
    let answers: Result<Vec<Value>> = answers.into_iter().map(|(_, answer)| answer).filter(no_outage).collect();
    let rights = "+sentinel|config on the Sentinels";
    let Some(answers) = report.allowed(Code::HostNames, "the settings of host names", rights, answers)? else {
        return Ok(());
    };
    let setting =
        |name: &str| -> BTreeSet<String> { answers.iter().filter_map(|answer| reply::field(answer, name)).collect() };
    let (resolve, announce) = (setting("resolve-hostnames"), setting("announce-hostnames"));
    judge_host_names(report, &resolve, &announce, tls, servers, names_match);
    Ok(())
}

fn judge_host_names(
    report: &mut Report,
    resolve: &BTreeSet<String>,
    announce: &BTreeSet<String>,
    tls: &TlsOptions,
    servers: &[Address],
    names_match: bool,
) {
    const REMEDY: &str = "on each Sentinel, set sentinel resolve-hostnames yes and sentinel announce-hostnames yes; on \
                          each server, set replica-announce-ip to its name; or add server_name to the store URL";
    if resolve.len() > 1 || announce.len() > 1 {
        let message = "the Sentinels have different values of resolve-hostnames or announce-hostnames, so they name \
                       the same server differently";
        report.error(Code::HostNames, message, REMEDY);
    }
    let is_ip = |address: &&Address| matches!(address, Address::Tcp(host, _) if host.parse::<IpAddr>().is_ok());
    let by_ip: Vec<_> = servers.iter().filter(is_ip).map(ToString::to_string).collect();
    if tls.insecure || tls.server_name.is_some() {
        report.ok(
            Code::HostNames,
            "the store URL says which certificate to accept, so announced addresses do not matter",
        );
    } else if by_ip.is_empty() {
        report.ok(Code::HostNames, "all servers are announced by host name");
    } else if names_match {
        report.ok(Code::HostNames, "servers are announced by IP address, and their certificates contain it");
    } else {
        let message = format!(
            "these servers are announced by IP address, and not all certificates contain it: {}",
            by_ip.join(", ")
        );
        report.error(Code::HostNames, message, REMEDY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redis::diagnose::report::{Severity, worst};

    #[test]
    fn too_few_sentinels_and_a_primary_that_is_down_are_reported() {
        for (known, in_url, flags, severity) in [
            (3, 3, "master", None),
            (2, 2, "master", Some(Severity::Warning)),
            (3, 2, "master", Some(Severity::Warning)),
            (3, 3, "master,s_down", Some(Severity::Error)),
        ] {
            let described = [Described { known, flags: flags.to_owned() }];
            assert_eq!(worst(|report| service_state(report, &described, in_url)), severity, "{known} {in_url} {flags}");
        }
    }

    #[test]
    fn announced_addresses_must_fit_the_certificates() {
        let set = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect::<BTreeSet<_>>();
        let (ip, name) = (Address::Tcp("10.0.0.5".to_owned(), 1), Address::Tcp("redis.example".to_owned(), 1));
        let plain = TlsOptions::default();
        let named = TlsOptions { server_name: Some("redis.example".to_owned()), ..TlsOptions::default() };
        for (tls, announce, server, names_match, severity) in [
            (&plain, &["yes"][..], &name, true, Severity::Ok),
            (&plain, &["no"], &ip, true, Severity::Ok),
            (&plain, &["no"], &ip, false, Severity::Error),
            (&named, &["no"], &ip, false, Severity::Ok),
            (&plain, &["no", "yes"], &name, true, Severity::Error),
        ] {
            let found = worst(|report| {
                let servers = std::slice::from_ref(server);
                judge_host_names(report, &set(&["yes"]), &set(announce), tls, servers, names_match);
            });
            assert_eq!(found, Some(severity), "{tls:?} {announce:?} {server}");
        }
    }
}

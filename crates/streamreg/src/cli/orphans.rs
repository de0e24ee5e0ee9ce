//! Orphans of the command, if `run` or `track` is process 1, e.g. in a container.
//!
//! The system makes process 1 the parent of every process whose own parent has ended. Process 1 must read the exit
//! statuses of such processes, or they remain as zombies.

use std::fs;

use rustix::process::{Pid, WaitOptions, getpid, waitpid};
use tokio::signal::unix::{SignalKind, signal};

/// Reads the exit statuses of orphans until the runtime shuts down. Does nothing if this process is not process 1.
///
/// `command` is the process id of the command, whose exit status must remain for the caller.
pub(super) async fn reap(command: Option<u32>) {
    if getpid() != Pid::INIT {
        return;
    }
    let mut children = match signal(SignalKind::child()) {
        Ok(children) => children,
        Err(error) => return tracing::warn!(%error, "cannot handle SIGCHLD; orphans remain as zombies"),
    };
    loop {
        for zombie in zombies().filter(|pid| Some(*pid) != command) {
            let pid = i32::try_from(zombie).ok().and_then(Pid::from_raw);
            // An error needs no handling: a zombie that remains is found again after the next SIGCHLD.
            let _ = pid.map(|pid| waitpid(Some(pid), WaitOptions::NOHANG));
        }
        if children.recv().await.is_none() {
            return;
        }
    }
}

/// Returns the children of this process that have ended.
///
/// A wait for any child would take the exit status of the command away from Tokio. So the ids are read from `/proc`.
fn zombies() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &u32| fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| is_own_zombie(&stat)))
}

/// Returns whether the content of `/proc/PID/stat` describes a child of process 1 that has ended.
fn is_own_zombie(stat: &str) -> bool {
    // The name of the program is in parentheses, and may itself contain spaces and parentheses.
    let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.next() == Some("Z") && fields.next() == Some("1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zombie_is_recognised_whatever_its_name() {
        assert!(is_own_zombie("7 (sleep) Z 1 7 7 0 -1"));
        assert!(is_own_zombie("7 (a) R 2 (b)) Z 1 7 7 0 -1"));
        assert!(!is_own_zombie("7 (sleep) S 1 7 7 0 -1"));
        assert!(!is_own_zombie("7 (sleep) Z 12 7 7 0 -1"));
        assert!(!is_own_zombie(""));
    }
}

//! Remembers which sessions have ended recently.

use std::collections::HashMap;
use std::time::Duration;

use crate::model::Name;

/// How long the end of a session is remembered, in case its message overtakes the message about the start.
const MEMORY: Duration = Duration::from_secs(10);

/// Upper bound of the remembered sessions of one stream.
const MAX_SESSIONS: usize = 64;

/// Upper bound of the streams with a remembered end. Ends beyond this number are not remembered.
const MAX_STREAMS: usize = 10_000;

/// When each session of a stream ended, for the last few seconds.
#[derive(Debug, Default)]
pub(super) struct Ends(HashMap<Name, Vec<(String, Duration)>>);

impl Ends {
    /// Remembers that a session has ended.
    pub(super) fn remember(&mut self, now: Duration, name: &Name, session: &str) {
        if self.0.len() >= MAX_STREAMS && !self.0.contains_key(name) {
            return;
        }
        let sessions = self.0.entry(name.clone()).or_default();
        sessions.retain(|(known, _)| known != session);
        if sessions.len() >= MAX_SESSIONS {
            sessions.remove(0);
        }
        sessions.push((session.to_owned(), now));
    }

    /// Returns when a session ended, if its end is remembered.
    pub(super) fn ended_at(&self, now: Duration, name: &Name, session: &str) -> Option<Duration> {
        let (_, at) = self.0.get(name)?.iter().find(|(known, _)| known == session)?;
        is_recent(now, *at).then_some(*at)
    }

    /// Forgets an end because a newer list shows the session.
    pub(super) fn forget(&mut self, name: &Name, session: &str) {
        if let Some(sessions) = self.0.get_mut(name) {
            sessions.retain(|(known, _)| known != session);
        }
    }

    /// Forgets ends that are too old to matter.
    pub(super) fn forget_old(&mut self, now: Duration) {
        self.0.retain(|_, sessions| {
            sessions.retain(|(_, at)| is_recent(now, *at));
            !sessions.is_empty()
        });
    }
}

fn is_recent(now: Duration, at: Duration) -> bool {
    now < at.saturating_add(MEMORY)
}

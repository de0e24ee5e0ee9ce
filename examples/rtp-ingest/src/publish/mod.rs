//! Keeps the registry in step with the table of sessions.
//!
//! The publisher looks at what is, not at what happened: after an outage of the store, however long, the
//! next look brings the registry up to date. Nothing here ever holds up the receiving of packets.

mod record;
mod store;

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use stream_registry::{
    Change, EndOptions, ErrorKind, Guard, OnConflict, OperationId, RegisterOptions, Registry, Stream, StreamId,
    StreamStatus, Write, limits,
};
use tokio::sync::Notify;
use tracing::{info, warn};

use crate::table::{Number, Observation, Table};
use record::Shown;
use store::Store;

/// How many registrations or ends are under way at a time.
const PARALLEL: usize = 16;
/// How long a pause is between two tries to end what is left, when the node stops.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// The table of sessions, shared by those who receive and the one who publishes.
#[derive(Debug)]
pub struct Shared {
    table: Mutex<Table>,
    news: Notify,
}

impl Shared {
    /// Shares a table.
    pub fn new(table: Table) -> Self {
        Self { table: Mutex::new(table), news: Notify::new() }
    }

    /// Enters the table; held for a packet or a look, never across an await.
    pub fn table(&self) -> MutexGuard<'_, Table> {
        // A panic under the lock cannot leave more than one packet half counted.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the publisher that there is something to publish.
    pub fn notify(&self) {
        self.news.notify_one();
    }

    /// Waits for [`notify`](Self::notify); one that came before counts.
    pub async fn notified(&self) {
        self.news.notified().await;
    }
}

/// What the registry knows of a session.
#[derive(Debug)]
enum Held {
    /// Not registered as far as is known.
    Pending(Pending),
    /// Registered.
    Registered(Box<Registered>),
}

#[derive(Debug)]
struct Pending {
    /// Goes with every try, so that no two of them are done.
    operation: OperationId,
    /// Whether a try went out without a clear answer: it may be registered all the same.
    in_doubt: bool,
    complained: bool,
}

impl Pending {
    fn fresh() -> Held {
        Held::Pending(Self { operation: OperationId::generate(), in_doubt: false, complained: false })
    }
}

#[derive(Debug)]
struct Registered {
    id: StreamId,
    shown: Shown,
    /// The period whose statistics were written last.
    period: u64,
    /// Whether the registry lost it.
    lost: bool,
    complained: bool,
}

/// Registers, reports and ends the sessions of a table.
#[derive(Debug)]
pub struct Publisher {
    shared: Arc<Shared>,
    store: Store,
    node: Option<String>,
    /// An id for records that get another one.
    template: StreamId,
    held: BTreeMap<Number, Held>,
}

impl Publisher {
    /// Makes the publisher of a table.
    ///
    /// # Errors
    ///
    /// None in practice: only if the registry refused a plain word as an id.
    pub fn new(
        shared: Arc<Shared>,
        registry: Arc<dyn Registry>,
        node: Option<String>,
    ) -> stream_registry::Result<Self> {
        Ok(Self { shared, store: Store::new(registry), node, template: "new".parse()?, held: BTreeMap::new() })
    }

    /// Publishes until `stop` completes; what is under way then is brought to its end first.
    pub async fn run(&mut self, stop: impl Future<Output = ()>) {
        let shared = Arc::clone(&self.shared);
        let mut stop = pin!(stop);
        loop {
            tokio::select! {
                () = shared.notified() => self.cycle().await,
                () = &mut stop => return,
            }
        }
    }

    /// Ends what is left, for as long as it takes: give it a time-out. Sessions in the table must have ended.
    pub async fn finish(&mut self) {
        while !self.shared.table().observe().is_empty() {
            self.store.try_again();
            self.cycle().await;
            if self.store.is_away() {
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
    }

    /// Returns how many streams the registry has of this node.
    pub fn registered(&self) -> usize {
        self.held.values().filter(|held| matches!(held, Held::Registered(_))).count()
    }

    /// One look at the table: reports first, since they keep streams alive, then what begins and ends.
    async fn cycle(&mut self) {
        let (seen, period) = {
            let table = self.shared.table();
            (table.observe(), table.periods())
        };
        if !self.store.may_try(period) {
            return;
        }
        self.take_up(&seen);
        if self.report(&seen, period).await.is_none() || self.register(&seen, period).await.is_none() {
            return;
        }
        self.end(&seen).await;
    }

    /// Notes sessions that are new, and drops those that ended before the registry heard of them.
    fn take_up(&mut self, seen: &[Observation]) {
        for session in seen {
            match (self.held.get(&session.number), &session.ended) {
                (None, None) => {
                    self.held.insert(session.number, Pending::fresh());
                }
                (None, Some(_)) => self.shared.table().forget(session.number),
                _ => {}
            }
        }
    }

    /// Writes what changed, of all sessions in one call (of 1 000 writes at most). `None`: the store is away.
    async fn report(&mut self, seen: &[Observation], period: u64) -> Option<()> {
        let mut writes = Vec::new();
        let mut of = Vec::new();
        for session in seen {
            let Some(Held::Registered(held)) = self.held.get(&session.number) else { continue };
            if held.lost {
                continue;
            }
            for change in held.shown.changes(session, held.period < period) {
                writes.push(Write { id: held.id.clone(), guard: Guard::None, change });
                of.push(session);
            }
        }
        for (writes, of) in writes.chunks(limits::MAX_WRITES).zip(of.chunks(limits::MAX_WRITES)) {
            let registry = self.store.registry();
            let answers = self.store.call(registry.write(writes)).await?;
            let mut is_away = false;
            for ((answer, write), session) in answers.into_iter().zip(writes).zip(of) {
                match answer {
                    // A store over HTTP is away for each write on its own.
                    Err(error) if self.store.is_outage(&error) => is_away = true,
                    answer => self.take_answer(session, write, answer, period),
                }
            }
            if is_away {
                return None;
            }
            self.store.answered();
        }
        Some(())
    }

    fn take_answer(&mut self, session: &Observation, write: &Write, answer: stream_registry::Result<()>, period: u64) {
        let Some(Held::Registered(held)) = self.held.get_mut(&session.number) else { return };
        match answer {
            Ok(()) => {
                held.complained = false;
                held.shown.note(session, &write.change);
                if let Change::Stats(_) = write.change {
                    held.period = period;
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound => held.lost = true,
            Err(error) => {
                if !std::mem::replace(&mut held.complained, true) {
                    warn!(id = %held.id, %error, "a report was refused; the next ones are tried all the same");
                }
            }
        }
    }

    /// Registers new sessions, and those again that the registry lost. `None`: the store is away.
    async fn register(&mut self, seen: &[Observation], period: u64) -> Option<()> {
        let mut calls = Vec::new();
        for session in seen {
            let is_live = session.ended.is_none();
            let (again, operation) = match self.held.get_mut(&session.number) {
                Some(Held::Registered(held)) if held.lost && is_live => {
                    (Some(held.id.clone()), OperationId::generate())
                }
                // One that has ended is asked for once more if it may be there, to be ended by its id.
                Some(Held::Pending(pending)) if is_live || pending.in_doubt => {
                    pending.in_doubt = true;
                    (None, pending.operation.clone())
                }
                _ => continue,
            };
            let stream = self.record(session, again.as_ref());
            calls.push((session, stream, RegisterOptions::default().operation(operation), again.is_some()));
        }
        for calls in calls.chunks(PARALLEL) {
            let registry = self.store.registry();
            let done = store::all(calls.iter().map(|(session, stream, options, again)| {
                let (registry, session, stream) = (Arc::clone(&registry), (*session).clone(), stream.clone());
                let (options, again) = (options.clone().on_conflict(OnConflict::Reject), *again);
                async move {
                    let answer = match again {
                        true => registry.register_with(&stream, &options).await,
                        false => registry.register_new(&stream, &options).await,
                    };
                    (session, stream, answer)
                }
            }));
            for (session, stream, answer) in self.store.call_all(done).await? {
                self.take_registration(&session, stream, answer, period)?;
            }
        }
        Some(())
    }

    fn record(&self, session: &Observation, again: Option<&StreamId>) -> Stream {
        let status = if again.is_some() { StreamStatus::Active } else { StreamStatus::Connecting };
        record::stream(again.unwrap_or(&self.template), session, status, self.node.as_deref())
    }

    fn take_registration(
        &mut self,
        session: &Observation,
        stream: Stream,
        answer: stream_registry::Result<stream_registry::Registered>,
        period: u64,
    ) -> Option<()> {
        let was_pending = matches!(self.held.get(&session.number), Some(Held::Pending(_)));
        match answer {
            Ok(registered) => {
                self.store.answered();
                let id = registered.stream.id;
                let what =
                    if was_pending { "stream registered" } else { "the registry had lost a stream; registered again" };
                info!(%id, source = %session.source, ssrc = %record::ssrc(session.ssrc), "{what}");
                let shown = Shown::of(session, stream.status);
                let now = Registered { id, shown, period, lost: false, complained: false };
                self.held.insert(session.number, Held::Registered(Box::new(now)));
            }
            Err(error) if self.store.is_outage(&error) => {
                if let Some(Held::Pending(pending)) = self.held.get_mut(&session.number) {
                    pending.in_doubt = error.may_have_applied();
                }
                return None;
            }
            Err(error) if !was_pending && error.kind() == ErrorKind::AlreadyExists => {
                warn!(%error, "another publisher has taken the stream's id meanwhile; it gets a new one");
                self.held.insert(session.number, Pending::fresh());
                self.shared.notify();
            }
            Err(error) => {
                let complained = match self.held.get_mut(&session.number) {
                    Some(Held::Pending(pending)) => {
                        pending.in_doubt = error.may_have_applied();
                        std::mem::replace(&mut pending.complained, true)
                    }
                    Some(Held::Registered(held)) => std::mem::replace(&mut held.complained, true),
                    None => true,
                };
                if !complained {
                    warn!(source = %session.source, %error, "a stream cannot be registered; tried again each second");
                }
            }
        }
        Some(())
    }

    /// Ends streams whose sessions have ended; their last statistics are written already.
    async fn end(&mut self, seen: &[Observation]) -> Option<()> {
        let mut calls = Vec::new();
        for session in seen {
            let Some(cause) = &session.ended else { continue };
            match self.held.get(&session.number) {
                Some(Held::Registered(held)) if !held.lost => {
                    calls.push((session.number, held.id.clone(), record::reason(cause)));
                }
                Some(Held::Pending(pending)) if pending.in_doubt => {}
                // Never registered, or gone already: nothing is left to end.
                _ => self.drop_session(session.number),
            }
        }
        for calls in calls.chunks(PARALLEL) {
            let registry = self.store.registry();
            let done = store::all(calls.iter().cloned().map(|(number, id, reason)| {
                let registry = Arc::clone(&registry);
                async move {
                    let answer = registry.end(&id, &EndOptions::default().reason(reason.clone())).await;
                    (number, id, reason, answer)
                }
            }));
            for (number, id, reason, answer) in self.store.call_all(done).await? {
                match answer {
                    Err(error) if self.store.is_outage(&error) => return None,
                    Err(error) if error.kind() != ErrorKind::NotFound => {
                        warn!(%id, %error, "a stream could not be ended; it expires by itself");
                    }
                    _ => info!(%id, reason = reason.as_str().unwrap_or_default(), "stream ended"),
                }
                self.store.answered();
                self.drop_session(number);
            }
        }
        Some(())
    }

    fn drop_session(&mut self, number: Number) {
        self.held.remove(&number);
        self.shared.table().forget(number);
    }
}

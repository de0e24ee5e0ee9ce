//! Finds the primary of a service that Sentinels monitor.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use redis::{Cmd, Value};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::connection::{Connection, Term};
use super::endpoint::{Access, Endpoint};
use super::session::{self, Expected};
use crate::error::{Error, ErrorKind, Result};
use crate::redis::options::{CONNECT_TIMEOUT, RedisOptions};
use crate::redis::reply;
use crate::redis::servers::{Address, SentinelOptions};

/// Time to wait for the other Sentinels after the first one has answered. A Sentinel that was cut off can name a former
/// primary, so its answer alone is not enough.
const GRACE: Duration = Duration::from_millis(200);
/// Timeout for the answer of any Sentinel. It leaves time to connect to the primary.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(600);
/// Time after which the next candidate is tried too, if a server does not answer. Sentinels that disagree can name a
/// server that hangs.
const NEXT_CANDIDATE_AFTER: Duration = Duration::from_millis(300);
/// Mean interval between two checks whether the Sentinels still name the same primary. A network partition can cut off
/// a client and a former primary from the Sentinels. Without the check, the client would use that primary indefinitely.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// The Sentinels of a store, and the primary that they named last.
pub(in crate::redis) struct Sentinels {
    service: String,
    sentinels: Vec<Endpoint>,
    /// The access to the servers that the Sentinels monitor.
    access: Arc<Access>,
    primary: Mutex<Option<Address>>,
    /// Number of the current term. Connections of earlier terms lead to a former primary.
    term: Arc<AtomicU64>,
    closed: AtomicBool,
}

impl Sentinels {
    /// Also starts the task that checks the primary. The task ends when the store is dropped.
    pub(super) fn new(options: &RedisOptions, sentinel: &SentinelOptions) -> Arc<Self> {
        let access = Arc::new(Access::to_sentinels(options, sentinel));
        let endpoint = |address: &Address| Endpoint { address: address.clone(), access: Arc::clone(&access) };
        let sentinels = Arc::new(Self {
            service: sentinel.service.clone(),
            sentinels: sentinel.sentinels.iter().map(endpoint).collect(),
            access: Arc::new(Access::new(options)),
            primary: Mutex::new(None),
            term: Arc::default(),
            closed: AtomicBool::new(false),
        });
        tokio::spawn(check_regularly(Arc::downgrade(&sentinels)));
        sentinels
    }

    pub(in crate::redis) fn service(&self) -> &str {
        &self.service
    }

    /// Returns the number of Sentinels in the store URL.
    pub(in crate::redis) fn count(&self) -> usize {
        self.sentinels.len()
    }

    /// Sends a command to each Sentinel, all at once. Returns the answers in the order of the store URL.
    pub(in crate::redis) async fn ask_each(&self, command: &Cmd) -> Vec<(&Address, Result<Value>)> {
        let ask = async |sentinel| {
            let answer = timeout(ANSWER_TIMEOUT, session::ask_once(sentinel, command)).await;
            let answer = answer.unwrap_or_else(|_| Err(Error::new(ErrorKind::Unavailable, "no answer in time")));
            (&sentinel.address, answer)
        };
        join_all(self.sentinels.iter().map(ask)).await
    }

    /// Asks the Sentinels for the primary, and connects to it.
    ///
    /// # Errors
    ///
    /// Returns `Unavailable` if no Sentinel answers or the server is not the primary. Returns `InvalidArgument` if no
    /// Sentinel knows the service.
    pub(super) async fn open(&self) -> Result<Connection> {
        let attempts = self.candidates().await?.into_iter().zip(0..).map(|(address, rank)| async move {
            sleep(NEXT_CANDIDATE_AFTER * rank).await;
            let endpoint = Endpoint { address, access: Arc::clone(&self.access) };
            (rank, session::open(&endpoint, Expected::Primary).await)
        });
        let mut attempts: FuturesUnordered<_> = attempts.collect();
        let mut fault: Option<(u32, Error)> = None;
        while let Some((rank, opened)) = attempts.next().await {
            match opened {
                Ok(mut connection) => {
                    let number = self.begin_term(connection.address());
                    connection.term = Some(Term { current: Arc::clone(&self.term), number });
                    return Ok(connection);
                }
                // The error of the server that most Sentinels name is returned.
                Err(error) => fault = fault.filter(|(other, _)| *other < rank).or(Some((rank, error))),
            }
        }
        Err(fault.map_or_else(|| self.unreachable("they name no primary"), |(_, error)| error))
    }

    /// Returns the primary that is in use.
    fn known(&self) -> Option<Address> {
        self.primary.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Records the primary. If it has changed, all connections to the former primary become unusable. Returns the number
    /// of the term.
    fn begin_term(&self, address: &Address) -> u64 {
        let mut primary = self.primary.lock().unwrap_or_else(PoisonError::into_inner);
        if primary.as_ref() == Some(address) {
            return self.term.load(Ordering::Acquire);
        }
        let former = primary.replace(address.clone());
        if let Some(former) = former {
            tracing::warn!(service = self.service, %former, primary = %address, "the primary has changed");
        }
        self.term.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Returns the addresses that the Sentinels name. The address that most of them name is first. If two addresses
    /// have equally many votes, the one that is already in use is first, so that connections do not lead to different
    /// servers in turn.
    async fn candidates(&self) -> Result<Vec<Address>> {
        let mut command = redis::cmd("SENTINEL");
        command.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.service);
        let mut answers: FuturesUnordered<_> = (self.sentinels.iter())
            .map(|sentinel| async {
                let answer = session::ask_once(sentinel, &command).await;
                primary_in(answer.map_err(|error| explain(error, &sentinel.address))?).map_err(|error| {
                    let message = format!("the Sentinel at {} names no usable address", sentinel.address);
                    Error::new(ErrorKind::Internal, message).with_source(error)
                })
            })
            .collect();
        let mut deadline = Instant::now() + ANSWER_TIMEOUT;
        let mut votes: Vec<(Address, usize)> = Vec::new();
        let (mut fault, mut unknown) = (None, false);
        while let Ok(Some(answer)) = timeout_at(deadline, answers.next()).await {
            match answer {
                Ok(Some(address)) => {
                    deadline = deadline.min(Instant::now() + GRACE);
                    match votes.iter_mut().find(|(voted, _)| *voted == address) {
                        Some((_, count)) => *count += 1,
                        None => votes.push((address, 1)),
                    }
                }
                Ok(None) => unknown = true,
                Err(error) => fault = fault.or(Some(error)),
            }
        }
        let known = self.known();
        votes.sort_by_key(|(address, count)| (std::cmp::Reverse(*count), known.as_ref() != Some(address)));
        match (votes.is_empty(), fault) {
            (false, _) => Ok(votes.into_iter().map(|(address, _)| address).collect()),
            (true, _) if unknown => Err(Error::invalid(format!(
                "the Sentinels monitor no service named {:?}; correct the name in the store URL",
                self.service
            ))),
            (true, Some(error)) if error.kind() != ErrorKind::Unavailable => Err(error),
            (true, Some(error)) => Err(self.unreachable(error.message()).with_source(error)),
            (true, None) => Err(self.unreachable("are they running and reachable?")),
        }
    }

    fn unreachable(&self, reason: &str) -> Error {
        let sentinels: Vec<_> = self.sentinels.iter().map(|sentinel| sentinel.address.to_string()).collect();
        let message = format!("no Sentinel answers at {}: {reason}", sentinels.join(", "));
        Error::new(ErrorKind::Unavailable, message)
    }

    /// Ends the task that checks the primary.
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// If the Sentinels name another server than before, and this server is a primary, ends the current term.
    async fn check(&self) {
        let Ok(candidates) = self.candidates().await else { return };
        let (Some(known), Some(named)) = (self.known(), candidates.into_iter().next()) else { return };
        if named != known {
            let endpoint = Endpoint { address: named, access: Arc::clone(&self.access) };
            let opened = timeout(CONNECT_TIMEOUT, session::open(&endpoint, Expected::Primary)).await;
            if opened.is_ok_and(|opened| opened.is_ok()) {
                self.begin_term(&endpoint.address);
            }
        }
    }
}

async fn check_regularly(sentinels: Weak<Sentinels>) {
    loop {
        // The interval is random, so that the processes do not ask at the same time.
        tokio::time::sleep(CHECK_INTERVAL.mul_f64(0.8 + fastrand::f64() * 0.4)).await;
        let Some(sentinels) = sentinels.upgrade().filter(|sentinels| !sentinels.closed.load(Ordering::Acquire)) else {
            return;
        };
        sentinels.check().await;
    }
}

/// Explains why a Sentinel cannot be asked.
fn explain(error: Error, address: &Address) -> Error {
    let message = match error.kind() {
        ErrorKind::Unsupported => format!("the server at {address} is not a Sentinel; check the store URL"),
        ErrorKind::Unauthenticated if error.is_store_reply() => format!(
            "the Sentinel at {address} rejected the user name or password; set sentinel_user and sentinel_pass in the store URL"
        ),
        ErrorKind::Denied => format!(
            "the Sentinel at {address} denies SENTINEL GET-MASTER-ADDR-BY-NAME; grant +sentinel|get-master-addr-by-name"
        ),
        ErrorKind::Internal => format!("the Sentinel at {address}: {}", error.message()),
        _ => return error,
    };
    Error::new(error.kind(), message).with_store_reply(error.is_store_reply()).with_source(error)
}

/// Parses the reply to `SENTINEL GET-MASTER-ADDR-BY-NAME`. Returns `None` if the Sentinel does not know the service.
fn primary_in(answer: Value) -> Result<Option<Address>> {
    if answer == Value::Nil {
        return Ok(None);
    }
    let invalid = || Error::new(ErrorKind::Internal, "not an address");
    let [host, port] = <[Value; 2]>::try_from(reply::array(answer)?).map_err(|_| invalid())?;
    let (host, port) = (reply::bytes(host)?, reply::number(&port)?);
    let host = String::from_utf8(host).map_err(|_| invalid())?;
    Address::announced(&host, port).map(Some).ok_or_else(invalid)
}

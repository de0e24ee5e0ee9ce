//! SRS: reads the HTTP API and the HTTP hooks, of versions 5 to 7. Older versions with numeric ids are read, too.

mod entry;
mod hooks;

pub use hooks::SrsHooks;

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::time::Duration;

use entry::Live;

use super::json::{self, Object};
use super::{Answer, List, ReadError, Request, Step, fields};
use crate::model::Snapshot;
use crate::reconcile::Profile;

/// How SRS behaves. Its counters move in steps of 3 to 10 s.
pub const PROFILE: Profile =
    Profile { stall_after: Duration::from_secs(25), rate_window: Duration::from_secs(10), ..fields::PROFILE };

/// The number of entries in one page.
const PAGE: usize = 1_000;
/// Maximum number of pages that are requested per list. A list with more pages is incomplete.
const MAX_PAGES: usize = 100;

/// The list or page that a request asks for.
#[derive(Clone, Copy)]
enum Asked {
    /// Streams from this index.
    Streams(usize),
    /// Clients from this index.
    Clients(usize),
    Vhosts,
}

impl Asked {
    fn table(self) -> &'static str {
        match self {
            Self::Streams(_) => "streams",
            Self::Clients(_) => "clients",
            Self::Vhosts => "vhosts",
        }
    }

    fn request(self) -> Request {
        let table = self.table();
        let path = match self {
            Self::Streams(start) | Self::Clients(start) => format!("/api/v1/{table}?start={start}&count={PAGE}"),
            Self::Vhosts => format!("/api/v1/{table}"),
        };
        Request { path }
    }
}

/// Lists the live streams of an SRS server.
///
/// A stream is live if it has an active publisher. The first steps ask for the streams. If some are live, the next
/// steps ask for the names of the virtual hosts and for the publishers among the clients.
///
/// An entry without a usable name, publisher or virtual host is left out, and the snapshot is then incomplete.
pub struct SrsList {
    asked: Vec<Asked>,
    epoch: Option<String>,
    /// The run of the server, if the version reports it. It is part of every session.
    service: Option<String>,
    complete: bool,
    /// The ids of all streams, including those that are not live.
    ids: BTreeSet<String>,
    /// The id of the last entry that was read.
    last_id: Option<String>,
    live: Vec<Live>,
    /// The positions in `live` of the publishers that are not yet found among the clients.
    publishers: BTreeMap<String, usize>,
    /// The name of each virtual host, by id.
    vhosts: BTreeMap<String, String>,
    phase: Phase,
}

enum Phase {
    Start,
    Streams,
    Clients,
}

impl Default for SrsList {
    fn default() -> Self {
        Self {
            asked: Vec::new(),
            epoch: None,
            service: None,
            complete: true,
            ids: BTreeSet::new(),
            last_id: None,
            live: Vec::new(),
            publishers: BTreeMap::new(),
            vhosts: BTreeMap::new(),
            phase: Phase::Start,
        }
    }
}

impl List for SrsList {
    fn step(&mut self, answers: &[Answer]) -> Result<Step, ReadError> {
        let asked = mem::take(&mut self.asked);
        if asked.len() != answers.len() {
            return Err(ReadError::new("the number of answers differs from the number of requests"));
        }
        for (asked, answer) in asked.into_iter().zip(answers) {
            self.read(asked, answer)?;
        }
        if self.asked.is_empty() {
            self.enter_next_phase();
        }
        if self.asked.is_empty() {
            return Ok(Step::Done(self.snapshot()));
        }
        Ok(Step::Ask(self.asked.iter().map(|asked| asked.request()).collect()))
    }
}

impl SrsList {
    fn enter_next_phase(&mut self) {
        match self.phase {
            Phase::Start => {
                self.phase = Phase::Streams;
                self.asked = vec![Asked::Streams(0)];
            }
            Phase::Streams => {
                self.phase = Phase::Clients;
                if !self.live.is_empty() {
                    self.asked = vec![Asked::Vhosts, Asked::Clients(0)];
                }
            }
            Phase::Clients => {}
        }
    }

    fn read(&mut self, asked: Asked, answer: &Answer) -> Result<(), ReadError> {
        let table = asked.table();
        let text = json::body(answer, table)?;
        let object =
            Object::read(&text).filter(|object| object.is_null("code").is_none() || object.count("code") == Some(0));
        let Some((object, entries)) = object.and_then(|object| object.array(table).map(|all| (object, all))) else {
            return Err(ReadError::new(format!("the answer for {table} has no {table}; is this the API of SRS?")));
        };
        self.check_run(asked, &object)?;
        let count = entries.len();
        let entries = entries.into_iter().map(Object::read);
        match asked {
            Asked::Streams(start) => self.read_streams(start, count, entries),
            Asked::Clients(start) => {
                entries.flatten().for_each(|client| self.read_client(&client));
                if count == PAGE && !self.publishers.is_empty() && start / PAGE < MAX_PAGES - 1 {
                    self.asked.push(Asked::Clients(start + PAGE));
                }
            }
            Asked::Vhosts => self.vhosts.extend(
                entries.flatten().filter_map(|vhost| Some((vhost.id("id")?, entry::vhost(&vhost.string("name")?)))),
            ),
        }
        Ok(())
    }

    /// Checks that all answers come from the same run of the server.
    fn check_run(&mut self, asked: Asked, object: &Object<'_>) -> Result<(), ReadError> {
        let service = object.id("service");
        if matches!(asked, Asked::Streams(0)) {
            self.epoch = service.clone().or_else(|| object.id("pid"));
            self.service = service;
        } else if service.is_some() && self.service.is_some() && service != self.service {
            return Err(ReadError::new("the server restarted between two answers; list the streams again"));
        }
        Ok(())
    }

    fn read_streams<'a>(&mut self, start: usize, count: usize, entries: impl Iterator<Item = Option<Object<'a>>>) {
        let before = self.ids.len();
        for (index, entry) in entries.enumerate() {
            let Some((entry, id)) = entry.and_then(|entry| entry.id("id").map(|id| (entry, id))) else {
                self.complete = false;
                continue;
            };
            // A page begins with the last entry of the previous page. If it begins with another entry, streams started
            // or ended between the two answers, and a stream may be missing in both.
            self.complete &= start == 0 || index > 0 || self.last_id.as_ref() == Some(&id);
            if self.ids.insert(id.clone()) {
                self.complete &= self.read_stream(&entry).is_some();
            }
            self.last_id = Some(id);
        }
        // Old versions ignore `start` and `count`, and send every stream each time.
        if count == PAGE && self.ids.len() > before {
            let more = start / (PAGE - 1) + 1 < MAX_PAGES;
            self.complete &= more;
            if more {
                self.asked.push(Asked::Streams(start + PAGE - 1));
            }
        }
    }

    /// Reads a stream. Returns `None` if the stream may be live but cannot be used.
    fn read_stream(&mut self, stream: &Object<'_>) -> Option<()> {
        if let Some(client) = entry::publisher(stream)? {
            let live = entry::live(stream, session(self.service.as_deref(), &client))?;
            self.publishers.insert(client, self.live.len());
            self.live.push(live);
        }
        Some(())
    }

    fn read_client(&mut self, client: &Object<'_>) {
        let publisher = client.id("id").and_then(|id| self.publishers.remove(&id));
        if let Some(live) = publisher.and_then(|index| self.live.get_mut(index)) {
            entry::add_client(&mut live.item, client);
        }
    }

    fn snapshot(&mut self) -> Snapshot {
        let mut snapshot =
            Snapshot { epoch: self.epoch.take(), scope: None, complete: self.complete, items: Vec::new() };
        for Live { mut item, vhost } in mem::take(&mut self.live) {
            match self.vhosts.get(&vhost) {
                Some(vhost) => {
                    entry::set_vhost(&mut item, vhost);
                    snapshot.items.push(item);
                }
                None => snapshot.complete = false,
            }
        }
        snapshot
    }
}

/// Returns the session of a client. The id of a client is unique within one run of the server.
fn session(service: Option<&str>, client: &str) -> String {
    service.map_or_else(|| client.to_owned(), |service| format!("{service}:{client}"))
}

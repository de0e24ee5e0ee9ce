//! MediaMTX: reads the control API, of old versions (`ready`) and new versions (`available`, `online`).

mod entry;
mod publisher;

use std::collections::{BTreeMap, BTreeSet};
use std::mem;

pub use publisher::{Publisher, PublisherList};

use super::json::{self, Object};
use super::{Answer, List, ReadError, Request, Step, fields};
use crate::model::Snapshot;
use crate::reconcile::{Duplicates, Profile};

/// How MediaMTX behaves.
pub const PROFILE: Profile = Profile { duplicates: Duplicates::TakeOver, ..fields::PROFILE };

/// Maximum number of pages that are requested per list. A list with more pages is incomplete.
const MAX_PAGES: u64 = 100;

/// A list of the API, as its path names it, e.g. `rtmpconns`.
type Table = &'static str;
const PATHS: Table = "paths";

/// The list or page that a request asks for.
#[derive(Clone, Copy)]
enum Asked {
    Info,
    Page(Table, u64),
}

impl Asked {
    fn request(self) -> Request {
        let path = match self {
            Self::Info => "/v3/info".to_owned(),
            Self::Page(table, page) => format!("/v3/{table}/list?itemsPerPage=1000&page={page}"),
        };
        Request { path }
    }
}

/// Lists the live paths of a MediaMTX server.
///
/// A path is live if it has a source, is available (old versions: ready), and is online (if the version says so).
/// The first step asks for the paths. The second step asks for the connections of those protocols that publish.
///
/// An entry without a usable name, source or session is left out, and the snapshot is then incomplete.
pub struct MediaMtxList {
    asked: Vec<Asked>,
    snapshot: Snapshot,
    /// The names of all paths, including those that are not live.
    names: BTreeSet<String>,
    /// The number of paths, as each page reports it.
    totals: Vec<u64>,
    /// For each publishing connection, the position of its stream in the snapshot.
    publishers: BTreeMap<(Table, String), usize>,
    phase: Phase,
}

enum Phase {
    Start,
    Paths,
    Connections,
}

impl Default for MediaMtxList {
    fn default() -> Self {
        Self {
            asked: Vec::new(),
            snapshot: Snapshot { complete: true, ..Snapshot::default() },
            names: BTreeSet::new(),
            totals: Vec::new(),
            publishers: BTreeMap::new(),
            phase: Phase::Start,
        }
    }
}

impl List for MediaMtxList {
    fn step(&mut self, answers: &[Answer]) -> Result<Step, ReadError> {
        let asked = mem::take(&mut self.asked);
        if asked.len() != answers.len() {
            return Err(ReadError::new("the number of answers differs from the number of requests"));
        }
        for (asked, answer) in asked.into_iter().zip(answers) {
            match asked {
                Asked::Info => self.read_info(answer)?,
                Asked::Page(table, page) => self.read_page(table, page, answer)?,
            }
        }
        if self.asked.is_empty() {
            self.enter_next_phase();
        }
        if self.asked.is_empty() {
            return Ok(Step::Done(mem::take(&mut self.snapshot)));
        }
        Ok(Step::Ask(self.asked.iter().map(|asked| asked.request()).collect()))
    }
}

impl MediaMtxList {
    fn enter_next_phase(&mut self) {
        match self.phase {
            Phase::Start => {
                self.phase = Phase::Paths;
                self.asked = vec![Asked::Info, Asked::Page(PATHS, 0)];
            }
            Phase::Paths => {
                self.phase = Phase::Connections;
                // If a path starts or ends between two requests, other paths move to another page. The totals show such
                // a change, unless one path started and another one ended.
                let read = self.names.len() as u64;
                self.snapshot.complete &= self.totals.iter().all(|total| *total == read);
                let tables: BTreeSet<Table> = self.publishers.keys().map(|(table, _)| *table).collect();
                self.asked = tables.into_iter().map(|table| Asked::Page(table, 0)).collect();
            }
            Phase::Connections => {}
        }
    }

    fn read_info(&mut self, answer: &Answer) -> Result<(), ReadError> {
        // Old versions have no such route.
        if answer.status != 404 {
            let text = json::body(answer, "info")?;
            self.snapshot.epoch = object(&text, "info")?.id("started");
        }
        Ok(())
    }

    fn read_page(&mut self, table: Table, page: u64, answer: &Answer) -> Result<(), ReadError> {
        // The list of a protocol that is switched off does not exist.
        if table != PATHS && answer.status == 404 {
            return Ok(());
        }
        let text = json::body(answer, table)?;
        let object = object(&text, table)?;
        let Some(entries) = object.array("items") else {
            return Err(ReadError::new(format!("the list of {table} has no items; is this the API of MediaMTX?")));
        };
        if page == 0 {
            let pages = object.count("pageCount").unwrap_or(1);
            self.snapshot.complete &= table != PATHS || pages <= MAX_PAGES;
            self.asked.extend((1..pages.min(MAX_PAGES)).map(|page| Asked::Page(table, page)));
        }
        if table == PATHS {
            self.totals.extend(object.count("itemCount"));
        }
        for entry in entries.into_iter().map(Object::read) {
            match entry {
                Some(entry) if table != PATHS => self.read_connection(table, &entry),
                Some(entry) => self.snapshot.complete &= self.read_path(&entry).is_some(),
                None => self.snapshot.complete &= table != PATHS,
            }
        }
        Ok(())
    }

    /// Reads a path. Returns `None` if the path may be live but cannot be used.
    fn read_path(&mut self, path: &Object<'_>) -> Option<()> {
        let name = path.string("name").filter(|name| !name.is_empty())?;
        if self.names.insert(name.clone()) && entry::is_live(path)? {
            let (item, publisher) = entry::item(&name, path)?;
            if let Some(publisher) = publisher {
                self.publishers.insert(publisher, self.snapshot.items.len());
            }
            self.snapshot.items.push(item);
        }
        Some(())
    }

    fn read_connection(&mut self, table: Table, connection: &Object<'_>) {
        let Some(id) = connection.id("id") else { return };
        let Some(index) = self.publishers.get(&(table, id)) else { return };
        if let Some(item) = self.snapshot.items.get_mut(*index) {
            entry::add_connection(item, connection);
        }
    }
}

fn object<'a>(text: &'a str, what: &str) -> Result<Object<'a>, ReadError> {
    Object::read(text).ok_or_else(|| ReadError::new(format!("the answer for {what} is not a JSON object")))
}

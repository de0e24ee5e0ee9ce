//! The ids of the streams: which are taken, and which names have no legal id.

use std::collections::{BTreeMap, BTreeSet};

use stream_registry::StreamId;

use super::{IdTemplate, Settings};
use crate::model::Name;

/// Maximum number of names whose problem is reported. Problems of further names are not reported.
const MAX_PROBLEMS: usize = 1_000;

/// Maximum number of characters of a name that a report shows.
const MAX_SHOWN: usize = 32;

/// Makes ids and keeps them unique.
#[derive(Debug)]
pub(super) struct Ids {
    template: IdTemplate,
    owners: BTreeMap<StreamId, Name>,
    reported: BTreeSet<Name>,
    problems: Vec<String>,
}

impl Ids {
    pub(super) fn new(template: IdTemplate) -> Self {
        Self { template, owners: BTreeMap::new(), reported: BTreeSet::new(), problems: Vec::new() }
    }

    /// Returns the id of a stream, and reserves it. Returns `None` if the id is illegal or belongs to another name.
    pub(super) fn claim(&mut self, name: &Name, settings: &Settings) -> Option<StreamId> {
        let id = match StreamId::new(self.template.expand(&settings.node, &settings.server, name)) {
            Ok(id) => id,
            Err(error) => {
                self.report(name, error.message());
                return None;
            }
        };
        if self.owners.get(&id).is_some_and(|owner| owner != name) {
            self.report(name, "another stream has the same id; use an id template with {path}");
            return None;
        }
        self.owners.insert(id.clone(), name.clone());
        Some(id)
    }

    /// Makes an id available to other names.
    pub(super) fn release(&mut self, id: &StreamId) {
        self.owners.remove(id);
    }

    pub(super) fn take_problems(&mut self) -> Vec<String> {
        std::mem::take(&mut self.problems)
    }

    fn report(&mut self, name: &Name, fault: &str) {
        if self.reported.len() < MAX_PROBLEMS && self.reported.insert(name.clone()) {
            self.problems.push(format!("skipped the stream {:?}: {fault}", shown(name)));
        }
    }
}

/// Returns the beginning of a name, without anything that may be a query.
fn shown(name: &Name) -> String {
    let path = name.to_string();
    let path = path.split(['?', '&', '=']).next().unwrap_or_default();
    match path.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", &path[..end]),
        None => path.to_owned(),
    }
}

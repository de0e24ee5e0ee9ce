//! One publisher: from the variables that MediaMTX passes to a command, and from the API.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{entry, object};
use crate::model::{Item, Name, Snapshot};
use crate::servers::{Answer, List, ReadError, Request, Step, fields, json};

/// The characters that are escaped in the path of a request. Slashes in the name of a stream stay.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The publisher or the pulled source of a path, as the variables of a command name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publisher {
    /// The name of the path (`MTX_PATH`).
    pub path: String,
    /// The type of the source (`MTX_SOURCE_TYPE`), e.g. `srtConn`.
    pub source_type: String,
    /// The id of the connection or session (`MTX_SOURCE_ID`); empty for a source that MediaMTX pulls.
    pub source_id: String,
}

impl Publisher {
    /// Returns the stream with the values that the variables contain.
    pub fn item(&self) -> Item {
        let mut item =
            fields::item(Name::from_path(&self.path), self.source_id.clone(), entry::stream_type(&self.source_type));
        item.labels = entry::labels(entry::protocol(&self.source_type));
        item
    }

    /// Returns a list of this stream alone, with its address, media and statistics. The list is never complete. It is
    /// empty if the path has another source.
    pub fn list(&self) -> PublisherList {
        PublisherList { publisher: self.clone(), asked: Asked::Nothing }
    }
}

/// Asks for one path, and then for the connection of its publisher.
pub struct PublisherList {
    publisher: Publisher,
    asked: Asked,
}

enum Asked {
    Nothing,
    Path,
    Connection(Box<Item>),
}

impl List for PublisherList {
    fn step(&mut self, answers: &[Answer]) -> Result<Step, ReadError> {
        match (std::mem::replace(&mut self.asked, Asked::Nothing), answers) {
            (Asked::Nothing, _) => {
                self.asked = Asked::Path;
                Ok(ask("paths", &self.publisher.path))
            }
            (Asked::Path, [answer]) => match self.read_path(answer)? {
                Some((item, Some((table, id)))) => {
                    self.asked = Asked::Connection(Box::new(item));
                    Ok(ask(table, &id))
                }
                path => Ok(done(path.map(|(item, _)| item))),
            },
            (Asked::Connection(mut item), [answer]) => {
                // The server does not know a connection that has just ended.
                if answer.status != 404 {
                    let text = json::body(answer, "the connection")?;
                    entry::add_connection(&mut item, &object(&text, "the connection")?);
                }
                Ok(done(Some(*item)))
            }
            _ => Err(ReadError::new("the number of answers differs from the number of requests")),
        }
    }
}

impl PublisherList {
    /// Reads the path. Returns `None` if this publisher does not feed the path.
    fn read_path(&self, answer: &Answer) -> Result<Option<entry::Found>, ReadError> {
        let Publisher { path, source_id, .. } = &self.publisher;
        if answer.status == 404 && answer.body.starts_with(b"{") {
            return Ok(None);
        }
        let text = json::body(answer, "the path")?;
        let object = object(&text, "the path")?;
        let is_own = object.object("source").and_then(|source| source.string("id")).as_ref() == Some(source_id);
        if !is_own || entry::is_live(&object) != Some(true) {
            return Ok(None);
        }
        let found = entry::item(path, &object);
        Ok(found.map(|(item, connection)| (Item { session: source_id.clone(), ..item }, connection)))
    }
}

fn ask(table: &str, name: &str) -> Step {
    Step::Ask(vec![Request { path: format!("/v3/{table}/get/{}", utf8_percent_encode(name, ESCAPED)) }])
}

fn done(item: Option<Item>) -> Step {
    Step::Done(Snapshot { items: item.into_iter().collect(), ..Snapshot::default() })
}

//! A small XML document in memory. Attributes are ignored.
//!
//! Declarations of entities and document types are rejected. They are not needed, and expanding them would let a few
//! bytes fill the memory or read a file.

use quick_xml::Reader;
use quick_xml::escape::resolve_xml_entity;
use quick_xml::events::Event;
use stream_registry::stream::limits::MAX_COUNT;

use super::ReadError;

/// Upper bound of the nested levels.
const MAX_LEVELS: usize = 32;

/// An element with its text and the elements in it.
#[derive(Debug, Default)]
pub(super) struct Element {
    pub(super) name: String,
    text: String,
    children: Vec<Element>,
}

impl Element {
    /// Returns the first child with this name.
    pub(super) fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// Returns all children with this name.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// Returns whether there is a child with this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.child(name).is_some()
    }

    /// Returns the count in the first child with this name. A count that is too large for a record is `None`.
    pub(super) fn count(&self, name: &str) -> Option<u64> {
        self.text(name).trim().parse().ok().filter(|count| *count <= MAX_COUNT)
    }

    /// Returns the number in the first child with this name, if the number is finite and at least 0.
    pub(super) fn number(&self, name: &str) -> Option<f64> {
        self.text(name).trim().parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0)
    }

    /// Returns the text of the first child with this name; empty if the child is missing.
    pub(super) fn text(&self, name: &str) -> &str {
        self.child(name).map_or("", |child| &child.text)
    }
}

/// Parses a document and returns its root.
///
/// # Errors
///
/// Returns an error if the document is malformed, incomplete or nested too deeply. A document type is also an error,
/// and so is an entity that XML does not predefine.
pub(super) fn parse(document: &str) -> Result<Element, ReadError> {
    let malformed = || ReadError::new("malformed or incomplete XML; check the URL");
    let mut reader = Reader::from_str(document);
    // The first element stands for the document, so that the root is its only child.
    let mut open = vec![Element::default()];
    loop {
        let event = reader.read_event().map_err(|_| malformed())?;
        match event {
            Event::Start(start) => {
                if open.len() > MAX_LEVELS {
                    return Err(ReadError::new("the XML is nested too deeply; check the URL"));
                }
                open.push(Element { name: start.name().as_ref().to_owned(), ..Element::default() });
            }
            Event::Empty(start) => {
                let element = Element { name: start.name().as_ref().to_owned(), ..Element::default() };
                open.last_mut().ok_or_else(malformed)?.children.push(element);
            }
            Event::End(_) => {
                let element = open.pop().ok_or_else(malformed)?;
                open.last_mut().ok_or_else(malformed)?.children.push(element);
            }
            Event::Text(text) => open.last_mut().ok_or_else(malformed)?.text.push_str(&text.xml10_content()),
            Event::CData(text) => open.last_mut().ok_or_else(malformed)?.text.push_str(&text.xml10_content()),
            Event::GeneralRef(entity) => {
                let text = &mut open.last_mut().ok_or_else(malformed)?.text;
                match entity.resolve_char_ref().map_err(|_| malformed())? {
                    Some(character) => text.push(character),
                    None => text.push_str(resolve_xml_entity(&entity.xml10_content()).ok_or_else(forbidden)?),
                }
            }
            Event::DocType(_) => return Err(forbidden()),
            Event::Decl(_) | Event::PI(_) | Event::Comment(_) => {}
            Event::Eof => break,
        }
    }
    match (open.pop(), open.is_empty()) {
        (Some(mut document), true) if document.children.len() == 1 => document.children.pop().ok_or_else(malformed),
        _ => Err(malformed()),
    }
}

fn forbidden() -> ReadError {
    ReadError::new("the XML declares a document type or uses an unknown entity; check the URL")
}

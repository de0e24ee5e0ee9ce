//! OvenMediaEngine: its admission webhooks. It has no list that names the publisher of a stream.
//!
//! The session is the publisher's address and port, because the server sends no other value in both hooks.

use percent_encoding::percent_decode_str;

use super::json::{self, Object};
use super::{Hooks, ReadError, fields, words};
use crate::model::{Event, Name};
use crate::reconcile::Profile;

/// How OvenMediaEngine behaves. Without a list, only its hooks end a stream.
pub const PROFILE: Profile = Profile { stall_after: fields::NEVER, forget_after: fields::NEVER, ..fields::PROFILE };

/// Reads admission webhooks. A publisher counts as active once it is admitted, because the server does not report its
/// media. Webhooks of viewers (`outgoing`) are accepted and ignored.
#[derive(Clone, Copy, Debug, Default)]
pub struct HookReader;

impl Hooks for HookReader {
    fn read(&mut self, body: &[u8]) -> Result<Vec<Event>, ReadError> {
        let body = json::text(body);
        let hook = Object::read(&body).ok_or_else(|| missing("request"))?;
        let request = hook.object("request").ok_or_else(|| missing("request"))?;
        let required = |field| request.word(field).ok_or_else(|| missing(field));
        if required("direction")? != "incoming" {
            return Ok(Vec::new());
        }
        let status = required("status")?;
        let name = name(&required("url")?).ok_or_else(|| missing("url"))?;
        let client = hook.object("client").ok_or_else(|| missing("client"))?;
        let address = client.word("address").ok_or_else(|| missing("address"))?;
        let session = fields::socket_addr(&address, client.count("port"));
        match status.as_str() {
            "opening" => {
                let protocol = request.string("protocol").unwrap_or_default().to_ascii_lowercase();
                let mut item = fields::item(name, session.clone(), words::stream_type(&protocol));
                // Behind a proxy, the address is the proxy's.
                item.source_addr = client.word("real_ip").filter(|real| *real != address).unwrap_or(session);
                item.labels.insert("app".to_owned(), item.name.app.clone());
                Ok(vec![Event::Started(item)])
            }
            "closing" => Ok(vec![Event::Ended { name, session: Some(session) }]),
            _ => Ok(Vec::new()),
        }
    }
}

/// Returns the name in the path of the URL. Drops the user and the password before the host, and the query, which may
/// contain a key.
fn name(url: &str) -> Option<Name> {
    let (_, rest) = url.split_once("://")?;
    let rest = rest.split(['?', '#']).next().unwrap_or(rest);
    let (_, path) = rest.split_once('/')?;
    let path = percent_decode_str(path.trim_end_matches('/')).decode_utf8_lossy();
    Some(Name::from_path(&path)).filter(|name| !name.name.is_empty())
}

fn missing(field: &str) -> ReadError {
    ReadError::new(format!("the hook has no valid `{field}`; send admission webhooks to this URL"))
}

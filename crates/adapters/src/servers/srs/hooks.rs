//! The HTTP hooks.

use super::{entry, session};
use crate::model::{Event, ItemState, Name};
use crate::servers::json::{self, Object};
use crate::servers::{Hooks, ReadError};

/// Reads the hooks of an SRS server.
///
/// `on_publish` and `on_unpublish` are events. All other actions and the heartbeat are ignored.
#[derive(Default)]
pub struct SrsHooks;

impl Hooks for SrsHooks {
    fn read(&mut self, body: &[u8]) -> Result<Vec<Event>, ReadError> {
        let text = json::text(body);
        let hook = Object::read(&text).ok_or_else(|| ReadError::new("the hook is not a JSON object"))?;
        let action = hook.string("action").unwrap_or_default();
        if !["on_publish", "on_unpublish"].contains(&action.as_str()) {
            return Ok(Vec::new());
        }
        let (name, session) = publisher(&hook)
            .ok_or_else(|| ReadError::new("the hook names no stream or no client; is this a hook of SRS?"))?;
        if action == "on_unpublish" {
            return Ok(vec![Event::Ended { name, session: Some(session) }]);
        }
        let kind = entry::kind_of_url(&hook.string("tcUrl").unwrap_or_default());
        let vhost = name.vhost.clone();
        let mut item = entry::item(name, session, kind);
        entry::set_vhost(&mut item, &vhost);
        item.state = ItemState::Connecting;
        item.source_addr = hook.string("ip").unwrap_or_default();
        Ok(vec![Event::Started(item)])
    }
}

fn publisher(hook: &Object<'_>) -> Option<(Name, String)> {
    let mut name = entry::name(&hook.string("app").unwrap_or_default(), &hook.string("stream")?)?;
    name.vhost = entry::vhost(&hook.string("vhost").unwrap_or_default());
    Some((name, session(hook.id("service_id").as_deref(), &hook.id("client_id")?)))
}

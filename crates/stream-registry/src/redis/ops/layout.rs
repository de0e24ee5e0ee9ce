//! The layout of a registry in a Redis Cluster: how the streams are divided into shards. The feed metadata of every
//! shard contains the layout, so that programs with different layouts cannot use one registry.

use std::sync::LazyLock;

use redis::Value;

use crate::error::Result;
use crate::redis::connect::Link;
use crate::redis::fault::{Effect, is_wrong_type, translate};
use crate::redis::keys::Keys;
use crate::redis::layout::Stored;
use crate::redis::reply;
use crate::redis::script::Script;
use crate::redis::store::Store;

static LAYOUT: LazyLock<Script> = LazyLock::new(|| Script::new("layout", include_str!("layout.lua")));

/// Reads the layout from a shard. Returns `None` if the shard contains no layout.
pub(in crate::redis) async fn read(link: &Link, keys: &Keys) -> Result<Option<Stored>> {
    let mut command = redis::cmd("HMGET");
    command.arg(keys.feed_metadata()).arg("shards").arg("function");
    match link.command(&command, Effect::Read).await? {
        Ok(fields) => parse(fields),
        Err(error) if is_wrong_type(&error) => Ok(None),
        Err(error) => Err(translate(error, false)),
    }
}

/// Stores a layout in a shard, unless the shard already contains a layout. Returns the layout that is stored
/// afterwards. Returns `None` if the key holds a value of another type.
pub(in crate::redis) async fn write(store: &Store, layout: &Stored) -> Result<Option<Stored>> {
    let mut call = LAYOUT.call(&[store.keys.feed_metadata()]);
    call.arg(&layout.shards).arg(&layout.function);
    parse(call.run(&store.link, Effect::Housekeeping).await?)
}

fn parse(fields: Value) -> Result<Option<Stored>> {
    let mut fields = reply::array(fields)?.into_iter();
    let mut next = || -> Result<Option<String>> {
        let field = reply::optional_bytes(fields.next().unwrap_or(Value::Nil))?;
        Ok(field.map(|field| String::from_utf8_lossy(&field).into_owned()))
    };
    Ok(match (next()?, next()?) {
        (None, None) => None,
        (shards, function) => {
            Some(Stored { shards: shards.unwrap_or_default(), function: function.unwrap_or_default() })
        }
    })
}

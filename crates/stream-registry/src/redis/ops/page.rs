//! The list in pages, for large registries.

use std::num::NonZeroU32;
use std::sync::Arc;

use redis::Value;

use super::list::{Found, sift};
use crate::error::Result;
use crate::redis::connect::Effect;
use crate::redis::fault::{checked, translate, unexpected};
use crate::redis::feed::{Place, facts};
use crate::redis::{Store, reply, within};
use crate::registry::Page;
use crate::registry::cursor;
use crate::stream::Cursor;

const KIND: char = 'r';
/// The most ids asked of the server at once, so that no page holds it for long.
const AT_ONCE: usize = 1_000;

pub(in crate::redis) async fn page(store: &Arc<Store>, from: Option<&Cursor>, count: NonZeroU32) -> Result<Page> {
    let mut place = from.map_or(Ok(0), |from| cursor::read(KIND, from))?;
    let count = usize::try_from(count.get()).unwrap_or(usize::MAX);
    let mut page = Page::default();
    loop {
        let wanted = (count - page.streams.len()).min(AT_ONCE);
        let (scanned, found) = within(Effect::Read, async {
            let mut scanned = scan(store, place, wanted).await?;
            let ids = std::mem::take(&mut scanned.ids);
            Ok((scanned, records(store, ids).await?))
        })
        .await?;
        let (streams, unreadable) = sift(store, found).await?;
        page.streams.extend(streams);
        page.unreadable += unreadable;
        page.total = scanned.total;
        page.revision = page.revision.or_else(|| scanned.feed.map(Place::revision));
        place = scanned.next;
        // The scan decides how many come: a page is full at `count` or more, and never empty before the end.
        if place == 0 || page.streams.len() >= count {
            break;
        }
    }
    page.next = if place == 0 { None } else { Some(cursor::make(KIND, place)?) };
    Ok(page)
}

/// What a look at the index finds.
pub(in crate::redis) struct Scanned {
    pub(in crate::redis) ids: Vec<Vec<u8>>,
    /// Where to go on; 0 after the last.
    pub(in crate::redis) next: u64,
    /// The size of the index.
    total: u64,
    /// The place in the feed before the look, where the user may know it.
    feed: Option<Place>,
}

pub(in crate::redis) async fn scan(store: &Arc<Store>, place: u64, count: usize) -> Result<Scanned> {
    let mut pipeline = redis::pipe();
    // First, so that whoever follows from there misses nothing of what the page shows.
    pipeline.add_command(store.ask_facts());
    pipeline.cmd("SSCAN").arg(store.keys.index()).arg(place).arg("COUNT").arg(count);
    pipeline.cmd("SCARD").arg(store.keys.index());
    let mut answers = store.bulk.pipeline(&pipeline, Effect::Read).await?.into_iter();
    let feed = facts(answers.next().unwrap_or(Value::Nil)).ok().and_then(Result::ok);
    let mut answer = || checked(answers.next().unwrap_or(Value::Nil)).map_err(|error| translate(error, false));
    let mut scanned = reply::array(answer()?)?.into_iter();
    let next = reply::text(scanned.next().unwrap_or(Value::Nil))?;
    let next = std::str::from_utf8(&next).ok().and_then(|text| text.parse().ok());
    let next = next.ok_or_else(|| unexpected(&Value::Nil))?;
    let ids = reply::array(scanned.next().unwrap_or(Value::Nil))?;
    let total = u64::try_from(reply::number(&answer()?)?).unwrap_or(0);
    Ok(Scanned { ids: ids.into_iter().map(reply::text).collect::<Result<_>>()?, next, total, feed })
}

async fn records(store: &Arc<Store>, ids: Vec<Vec<u8>>) -> Result<Vec<Found>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut command = redis::cmd("MGET");
    for id in &ids {
        command.arg(store.keys.record_bytes(id));
    }
    let texts = reply::array(store.bulk.read(&command).await?)?;
    ids.into_iter().zip(texts).map(|(id, text)| Ok((id, reply::bytes(text)?))).collect()
}

//! The layout of a registry in a cluster: the number of its shards, and the function that assigns streams to them.
//!
//! Every shard stores the layout. A program that used another layout would see only some of the streams, and could
//! register a stream that is live in another shard. So such a program is rejected when it connects.

use futures_util::future::join_all;

use super::{Shard, tags};
use crate::error::{Error, ErrorKind, Result};
use crate::redis::connect::Purpose;
use crate::redis::connect::topology::Topology;
use crate::redis::connect::{Link, slot_of};
use crate::redis::keys::Keys;
use crate::redis::layout::Stored;
use crate::redis::ops::layout;
use crate::redis::options::RedisOptions;
use crate::redis::servers::SHARD_COUNTS;

/// Number of shards of a new registry, if the URL does not give a number.
pub(super) const DEFAULT_SHARDS: u16 = 16;

/// The layouts that were found under all hash tags. Every layout uses some of these tags, so no layout is missed.
pub(super) struct Found {
    layouts: Vec<Result<Option<Stored>>>,
}

/// Returns the layout of a number of shards.
pub(super) fn of(count: usize) -> Stored {
    Stored { shards: count.to_string(), function: tags::FUNCTION.to_owned() }
}

/// Reads the layouts from all shards that any layout can have.
///
/// # Errors
///
/// Returns the first error if no shard can be read.
pub(super) async fn find(options: &RedisOptions, topology: &Topology) -> Result<Found> {
    let reads = tags::TAGS.iter().map(|tag| async move {
        let link = Link::to_slot(topology, slot_of(tag), Purpose::Calls, options);
        layout::read(&link, &Keys::new(&tags::prefix(&options.prefix, tag))).await
    });
    let layouts = join_all(reads).await;
    match layouts.iter().find_map(|layout| layout.as_ref().err()) {
        Some(error) if layouts.iter().all(Result::is_err) && error.kind() != ErrorKind::Denied => Err(error.clone()),
        _ => Ok(Found { layouts }),
    }
}

impl Found {
    /// Returns the number of shards: the stored one or, in a new registry, the requested one.
    ///
    /// # Errors
    ///
    /// Returns `InvalidArgument` if another layout is stored than the requested one. If no layout was found and no
    /// number was requested, returns the error of a shard that cannot be read.
    pub(super) fn count(&self, requested: Option<u16>) -> Result<usize> {
        let stored = self.layouts.iter().filter_map(|layout| layout.as_ref().ok()?.as_ref());
        let mut count = None;
        for stored in stored {
            let stored = check(stored)?;
            if count.is_some_and(|count| count != stored) {
                return Err(mismatch(&stored.to_string(), "other programs have registered streams in another layout"));
            }
            count = Some(stored);
        }
        match (count, requested) {
            (Some(stored), Some(requested)) if stored != requested => Err(mismatch(
                &stored.to_string(),
                &format!("the store URL says shards={requested}; write shards={stored} or remove it"),
            )),
            (Some(count), _) | (None, Some(count)) => Ok(usize::from(count)),
            // The layout may be in the shards that cannot be read. So no new layout is stored in the other shards.
            (None, None) => match self.layouts.iter().find_map(|layout| layout.as_ref().err()) {
                Some(error) => Err(error.clone()),
                None => Ok(usize::from(DEFAULT_SHARDS)),
            },
        }
    }

    /// Stores the layout in the shards that do not contain it yet, unless the registry is read-only. Logs if some shards
    /// cannot be used.
    ///
    /// # Errors
    ///
    /// Returns `InvalidArgument` if another program has stored another layout in the meantime.
    pub(super) async fn record(&self, shards: &[Shard]) -> Result<()> {
        let wanted = of(shards.len());
        let found = |number: usize| &self.layouts[number * (tags::TAGS.len() / shards.len())];
        let record = |number: usize| {
            let (shard, wanted) = (&shards[number], &wanted);
            async move {
                match found(number) {
                    Ok(None) if !shard.store.options.read_only => write(shard, wanted).await,
                    Ok(_) => Ok(()),
                    Err(error) => Err(shard.named(error.clone())),
                }
            }
        };
        // The first shard is part of every layout. So if two programs connect to a new registry with different layouts,
        // the first one stores its layout there, and the other one is rejected.
        let mut results = vec![record(0).await];
        if !matches!(&results[0], Err(error) if error.kind() == ErrorKind::InvalidArgument) {
            results.extend(join_all((1..shards.len()).map(record)).await);
        }
        let mut errors: Vec<Error> = results.into_iter().filter_map(Result::err).collect();
        if let Some(at) = errors.iter().position(|error| error.kind() == ErrorKind::InvalidArgument) {
            return Err(errors.swap_remove(at));
        }
        if let Some(error) = errors.first() {
            tracing::warn!(%error, shards = errors.len(), of = shards.len(), "a part of the Redis Cluster is unavailable");
        }
        Ok(())
    }
}

/// Stores the layout in a shard, unless another program has stored it in the meantime.
async fn write(shard: &Shard, wanted: &Stored) -> Result<()> {
    let stored = layout::write(&shard.store, wanted).await.map_err(|error| shard.named(error))?;
    match stored {
        Some(stored) if stored != *wanted => {
            let hint = format!("this program has tried to create it with {}; connect again", wanted.shards);
            Err(mismatch(&stored.shards, &hint))
        }
        _ => Ok(()),
    }
}

/// Returns the number of shards of a stored layout.
fn check(stored: &Stored) -> Result<u16> {
    let count = stored.shards.parse().ok().filter(|count| SHARD_COUNTS.contains(count));
    match count {
        Some(count) if stored.function == tags::FUNCTION => Ok(count),
        Some(_) => {
            let hint =
                format!("they are assigned by the function {:?}; use a version that supports it", stored.function);
            Err(mismatch(&stored.shards, &hint))
        }
        None => Err(mismatch(&stored.shards, "this version does not support this number; use a later version")),
    }
}

fn mismatch(shards: &str, hint: &str) -> Error {
    // The value comes from the store, so it can be any string.
    let shards = shards.chars().take(20).collect::<String>();
    Error::invalid(format!("the registry in this Redis Cluster has {} shards; {hint}", shards.escape_debug()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(layouts: &[(usize, &str, &str)]) -> Found {
        let mut found: Vec<Result<Option<Stored>>> = tags::TAGS.iter().map(|_| Ok(None)).collect();
        for &(at, shards, function) in layouts {
            found[at] = Ok(Some(Stored { shards: shards.to_owned(), function: function.to_owned() }));
        }
        Found { layouts: found }
    }

    #[test]
    fn stored_number_of_shards_is_used_unless_the_url_contradicts() {
        assert_eq!(found(&[]).count(None).unwrap(), 16);
        assert_eq!(found(&[]).count(Some(64)).unwrap(), 64);
        let stored = found(&[(0, "32", "crc16"), (2, "32", "crc16")]);
        assert_eq!((stored.count(None).unwrap(), stored.count(Some(32)).unwrap()), (32, 32));
        let error = stored.count(Some(16)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        let expected = "the registry in this Redis Cluster has 32 shards; the store URL says shards=16; write shards=32 or remove it";
        assert_eq!(error.message(), expected);
    }

    #[test]
    fn unsupported_layout_is_rejected() {
        for (layouts, expected) in [
            (&[(4, "16", "crc32")][..], "has 16 shards; they are assigned by the function \"crc32\""),
            (&[(4, "17", "crc16")], "has 17 shards; this version does not support this number"),
            (&[(4, "", "crc16")], "has  shards; this version does not support"),
            (&[(0, "16", "crc16"), (2, "32", "crc16")], "has 32 shards; other programs have registered"),
        ] {
            let error = found(layouts).count(None).unwrap_err();
            assert!(error.kind() == ErrorKind::InvalidArgument && error.message().contains(expected), "{error}");
        }
    }

    #[test]
    fn connect_needs_a_number_of_shards_if_the_layout_is_unreadable() {
        for kind in [ErrorKind::Denied, ErrorKind::Unavailable] {
            let mut unreadable = found(&[]);
            unreadable.layouts[0] = Err(Error::new(kind, "unreadable"));
            assert_eq!(unreadable.count(None).unwrap_err().kind(), kind);
            assert_eq!(unreadable.count(Some(8)).unwrap(), 8);
            let mut stored = found(&[(2, "32", "crc16")]);
            stored.layouts[0] = Err(Error::new(kind, "unreadable"));
            assert_eq!(stored.count(None).unwrap(), 32);
        }
    }
}

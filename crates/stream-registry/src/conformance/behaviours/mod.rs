//! The list of behaviours. Each file covers one clause or a few related ones.

mod atomic;
mod batches;
mod changes;
mod closing;
mod errors;
mod feed;
mod foreign;
mod guards;
mod history;
mod ids;
mod index;
mod leases;
mod limits;
mod list;
mod numbers;
mod operation_ids;
mod pages;
mod patch;
mod query;
mod record;
mod recovery;
mod register;
mod register_new;
mod take_over;
mod ttl;
mod unregister;

use std::pin::Pin;

use super::case::{self, Case, Check};

type CheckFuture<'a> = Pin<Box<dyn Future<Output = Check> + Send + 'a>>;

/// A rule that every store follows.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Behaviour {
    /// The name: `<clause>/<rule>`.
    pub name: &'static str,
    /// The clause: an anchor in `docs/semantics.md`.
    pub clause: &'static str,
    pub(super) lifetime: Lifetime,
    pub(super) check: fn(&Case) -> CheckFuture<'_>,
}

/// The time to live of the streams in a behaviour.
#[derive(Clone, Copy, Debug)]
pub(super) enum Lifetime {
    /// Longer than the behaviour runs.
    Long,
    /// Short enough that the streams expire during the behaviour.
    Short,
}

/// Returns every behaviour, grouped by clause.
pub fn behaviours() -> Vec<Behaviour> {
    [
        record::LIST,
        numbers::LIST,
        limits::LIST,
        foreign::LIST,
        ids::LIST,
        register::LIST,
        register_new::LIST,
        unregister::LIST,
        list::LIST,
        pages::LIST,
        query::LIST,
        history::LIST,
        changes::LIST,
        patch::LIST,
        batches::LIST,
        guards::LIST,
        leases::LIST,
        take_over::LIST,
        recovery::LIST,
        ttl::LIST,
        atomic::LIST,
        operation_ids::LIST,
        index::LIST,
        errors::LIST,
        feed::LIST,
        closing::LIST,
    ]
    .concat()
}

/// Declares the functions of a clause as behaviours with the same names.
macro_rules! declare {
    ($($clause:literal, $lifetime:ident: [$($function:ident),+ $(,)?]),+ $(,)?) => {
        pub(super) const LIST: &[super::Behaviour] = &[$($(
            super::Behaviour {
                name: concat!($clause, "/", stringify!($function)),
                clause: $clause,
                lifetime: super::Lifetime::$lifetime,
                check: |case| Box::pin($function(case)),
            },
        )+)+];
    };
}
use declare;

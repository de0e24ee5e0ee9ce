//! The list of behaviours. Each file checks one clause of the semantics, or a few related clauses.

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
mod resync;
mod take_over;
mod ttl;
mod unregister;

use std::pin::Pin;

use super::case::{self, Case, Check};

type CheckFuture<'a> = Pin<Box<dyn Future<Output = Check> + Send + 'a>>;

/// A rule that every store must follow, and the function that checks this rule.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Behaviour {
    /// Name of the behaviour: `<clause>/<rule>`.
    pub name: &'static str,
    /// Clause that the behaviour belongs to: an anchor in `docs/semantics.md`.
    pub clause: &'static str,
    pub(super) lifetime: Lifetime,
    pub(super) check: fn(&Case) -> CheckFuture<'_>,
}

/// The time to live of the streams in a behaviour.
#[derive(Clone, Copy, Debug)]
pub(super) enum Lifetime {
    /// The streams live longer than the behaviour runs.
    Long,
    /// The streams can expire while the behaviour runs.
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
        resync::LIST,
        closing::LIST,
    ]
    .concat()
}

/// Declares behaviours of a clause from functions. Each behaviour has the name of its function.
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

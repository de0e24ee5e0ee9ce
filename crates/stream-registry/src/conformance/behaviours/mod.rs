//! The list of behaviours, one file a group of clauses.

mod atomic;
mod batches;
mod changes;
mod closing;
mod errors;
mod feed;
mod foreign;
mod guards;
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

type Running<'a> = Pin<Box<dyn Future<Output = Check> + Send + 'a>>;

/// One thing that a store does or does not do.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Behaviour {
    /// `<clause>/<what the store does>`.
    pub name: &'static str,
    /// The clause: the anchor in `docs/semantics.md`.
    pub clause: &'static str,
    pub(super) life: Life,
    pub(super) check: fn(&Case) -> Running<'_>,
}

/// How long the streams of a behaviour live.
#[derive(Clone, Copy, Debug)]
pub(super) enum Life {
    /// Longer than the behaviour takes.
    Long,
    /// So short that the behaviour sees them expire.
    Short,
}

/// Returns every behaviour, in the order of the clauses.
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

/// Lists the functions of a clause, each under its own name.
macro_rules! declare {
    ($($clause:literal, $life:ident: [$($function:ident),+ $(,)?]),+ $(,)?) => {
        pub(super) const LIST: &[super::Behaviour] = &[$($(
            super::Behaviour {
                name: concat!($clause, "/", stringify!($function)),
                clause: $clause,
                life: super::Life::$life,
                check: |case| Box::pin($function(case)),
            },
        )+)+];
    };
}
use declare;

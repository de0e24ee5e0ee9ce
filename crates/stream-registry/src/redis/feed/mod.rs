//! The change feed.

pub(super) mod ends;
pub(super) mod entry;
pub(super) mod follow;
pub(super) mod lag;
pub(super) mod metadata;
pub(super) mod position;
mod reader;
mod ring;
pub(super) mod shared;

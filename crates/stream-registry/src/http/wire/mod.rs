//! Requests and responses of the HTTP API.
//!
//! `HttpRegistry` and `streamreg serve` share this module, so that the format is defined only once.
//! [`Stream::to_json`](crate::Stream::to_json) encodes the records. Unknown fields and exact integers are preserved in
//! both directions. Nonconforming values of known fields are replaced by the nearest legal values.

mod batch;
mod info;
mod list;
mod patch;
mod path;
mod problem;
mod read_batch;
mod register;

pub(super) use batch::{Batch, batches, can_be_batched, read_batch_response};
pub use batch::{HEARTBEATS, MAX_BATCH_BYTES, batch_response};
pub(super) use info::read_info;
pub use info::{Info, millis};
pub use list::{DEFAULT_HISTORY, DEFAULT_LIMIT, MAX_IDS, MAX_LIMIT, history_body, page_body, snapshot_body};
pub(super) use list::{read_history, read_page, read_snapshot, read_summary};
pub use patch::{LabelsMode, patch_body, read_patch, read_stats, read_status, stats_body, status_body};
pub use path::{decode_percent, encode_segment, stream_path};
pub use problem::{PROBLEM_JSON, Problem, is_refused_by_store, read_only_server};
pub use read_batch::{BatchRequest, Rejected, RejectedKind, read_batch};
pub use register::{MAX_STALE_MS, read_record, read_recovered, registered_body};
pub(super) use register::{read_registered, record_without_id};

/// Media type of all JSON bodies except patches and problem documents.
pub const JSON: &str = "application/json";
/// Media type of a patch (RFC 7396).
pub const MERGE_PATCH_JSON: &str = "application/merge-patch+json";
/// Header with the epoch of a lease.
pub const STREAM_EPOCH: &str = "stream-epoch";
/// Header with an operation id.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Size limit of a request body, in bytes.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

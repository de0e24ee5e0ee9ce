//! Lists that a server returns in one answer.

use super::{Answer, ReadError, Request, Step, json};
use crate::model::Snapshot;

/// Returns the next step of a list that needs one request. `read` reads the body of the answer.
pub(super) fn step(
    path: &str,
    answers: &[Answer],
    read: fn(&str) -> Result<Snapshot, ReadError>,
) -> Result<Step, ReadError> {
    match answers.first() {
        None => Ok(Step::Ask(vec![Request { path: path.to_owned() }])),
        Some(answer) => read(&json::body(answer, "the list of streams")?).map(Step::Done),
    }
}

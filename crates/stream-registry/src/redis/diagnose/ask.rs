//! Sends read-only commands to one server over one connection.

use redis::{Cmd, Value};
use tokio::time::timeout;

use crate::error::Result;
use crate::redis::connect::connection::Connection;
use crate::redis::fault::{no_reply, translate};
use crate::redis::options::CALL_TIMEOUT;

/// Sends a command that only reads. A command that the user may not run fails with `Denied`, and one that the server
/// does not have with `Unsupported`.
pub(super) async fn ask(connection: &mut Connection, command: &Cmd) -> Result<Value> {
    let answer = timeout(CALL_TIMEOUT, connection.send(command)).await.map_err(|_| no_reply())?;
    answer.map_err(|error| translate(error, false))
}

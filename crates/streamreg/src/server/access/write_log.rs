//! The log line of a write.

use stream_registry::registry::Operation;
use stream_registry::{Error, ErrorKind, Result, StreamId};

use super::caller::Caller;

/// A write of a named token that is logged when it ends.
///
/// A client that disconnects cancels its request, but the store may have applied the write already. So a write that is
/// dropped before its end is logged as `cancelled`.
pub(super) struct WriteLog<'a> {
    caller: &'a Caller,
    operation: Operation,
    stream: Option<&'a StreamId>,
    has_ended: bool,
}

impl<'a> WriteLog<'a> {
    pub(super) fn begin(caller: &'a Caller, operation: Operation, stream: Option<&'a StreamId>) -> Self {
        Self { caller, operation, stream, has_ended: false }
    }

    /// Logs the result of the write.
    pub(super) fn end<T>(self, result: Result<T>) -> Result<T> {
        let stream = self.stream;
        self.end_of(stream, result)
    }

    /// Logs the result of a write whose stream was not known when it began.
    pub(super) fn end_of<T>(mut self, stream: Option<&StreamId>, result: Result<T>) -> Result<T> {
        self.has_ended = true;
        let kind = result.as_ref().err().map(Error::kind);
        self.line(stream, kind.map_or("ok", ErrorKind::as_str), kind == Some(ErrorKind::Denied));
        result
    }

    /// Heartbeats and statistics are logged at debug unless they were denied, because there can be thousands of them in
    /// a second.
    fn line(&self, stream: Option<&StreamId>, result: &str, is_denied: bool) {
        let Some(token) = self.caller.token() else { return };
        let (token, operation, stream) = (token.name.as_str(), self.operation.as_str(), stream.map(StreamId::as_str));
        let request_id = self.caller.request_id();
        if matches!(self.operation, Operation::Heartbeat | Operation::Stats) && !is_denied {
            tracing::debug!(token, operation, stream, result, request_id, "write");
        } else {
            tracing::info!(token, operation, stream, result, request_id, "write");
        }
    }
}

impl Drop for WriteLog<'_> {
    fn drop(&mut self) {
        if !self.has_ended {
            self.line(self.stream, "cancelled", false);
        }
    }
}

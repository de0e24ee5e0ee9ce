//! Reasons for which a request gets no response.

use hyper_util::client::legacy;

/// Returns the causes of an error, beginning with the direct cause.
pub(super) fn causes<'a>(
    fault: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(fault.source(), |cause| cause.source())
}

/// Returns whether the host name could not be resolved.
pub(super) fn is_unknown_host(fault: &legacy::Error) -> bool {
    // Neither the standard library nor the HTTP library has an error kind for this case, so the messages are searched.
    fault.is_connect() && causes(fault).any(|cause| cause.to_string().contains("failed to lookup address"))
}

/// Returns whether the response is not HTTP, such as the reply of a Redis server.
pub(super) fn is_not_http(fault: &legacy::Error) -> bool {
    causes(fault).filter_map(|cause| cause.downcast_ref::<hyper::Error>()).any(hyper::Error::is_parse)
}

/// Returns whether the connection was lost before a response arrived. For example, the server may have closed an idle
/// connection.
pub(super) fn is_lost(fault: &legacy::Error) -> bool {
    if fault.is_connect() {
        return false;
    }
    for fault in causes(fault) {
        if let Some(fault) = fault.downcast_ref::<hyper::Error>() {
            if fault.is_canceled() || fault.is_closed() || fault.is_incomplete_message() {
                return true;
            }
        } else if let Some(fault) = fault.downcast_ref::<std::io::Error>() {
            use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, UnexpectedEof};
            return matches!(
                fault.kind(),
                BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | UnexpectedEof
            );
        }
    }
    false
}

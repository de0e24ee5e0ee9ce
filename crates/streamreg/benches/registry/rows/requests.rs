//! Measures requests per second about one stream, compared with the bare handler.

use super::http::{ServerProcess, compare_bare, get};
use super::{STREAMS, note};
use crate::args::Args;
use crate::report::Line;
use crate::{Result, streams};

/// Target: minimum rate of the server, relative to the bare handler.
const RATE: f64 = 0.8;

pub(super) async fn rows(args: &Args) -> Result<Vec<Line>> {
    note("http requests");
    let server = ServerProcess::start(STREAMS, None).await?;
    let path = format!("/api/v1/streams/{}", streams::stream(0)?.id);
    let heartbeat = format!("POST {path}/heartbeat HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n");
    let mut lines = Vec::new();
    for (name, request) in [("GET of a stream", get(&path)), ("POST of a heartbeat", heartbeat)] {
        lines.extend(compare_bare(args, &format!("http requests, {name}"), &server, &request, RATE).await?);
    }
    Ok(lines)
}

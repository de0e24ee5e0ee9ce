//! Measures requests per second about one stream, compared with the bare handler.

use super::http::{CONNECTIONS, ServerProcess, get, rates};
use super::{STREAMS, note};
use crate::args::Args;
use crate::figures::{spread, thousands};
use crate::report::{Line, line};
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
        let (ours, bare, ratio) = rates(args, &server, &request).await?;
        let row = format!("http requests, {name}, {CONNECTIONS} connections");
        lines.push(line(&row, "a bare handler, same bytes", spread(&bare, thousands), String::new(), None));
        let target = format!("≥ {RATE} × the bare handler");
        let mut served = line(&row, "the server", spread(&ours, thousands), target, Some(ratio >= RATE));
        served.ratio = format!("{ratio:.2}");
        lines.push(served);
    }
    Ok(lines)
}

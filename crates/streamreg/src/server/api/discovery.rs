//! Ingest nodes as targets for Prometheus (HTTP service discovery): `/api/v1/sd`.

use axum::Router;
use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use axum::routing::get;
use serde::Serialize;
use stream_registry::query::{By, Filter};

use super::json;
use crate::server::params::Params;
use crate::server::problem::{Failure, Result};
use crate::server::state::App;

pub(super) fn routes() -> Router<App> {
    Router::new().route("/api/v1/sd", get(nodes).fallback(async || Failure::method_not_allowed("GET, HEAD")))
}

/// A group of targets, in the format of Prometheus.
#[derive(Serialize)]
struct Group {
    targets: [String; 1],
    labels: Labels,
}

#[derive(Serialize)]
struct Labels {
    #[serde(rename = "__meta_streamreg_node")]
    node: String,
    /// A string, because all values of labels are strings.
    #[serde(rename = "__meta_streamreg_streams")]
    streams: String,
}

/// Returns a target for each node that has live streams. Its address is the name of the node, with the port from the
/// query.
async fn nodes(State(app): State<App>, uri: Uri) -> Result<Response> {
    let port = Params::read(&uri, &["port"])?.number("port", 1..=65_535)?;
    let summary = app.registry.summary(&Filter::default(), By::Node).await?;
    let groups = summary.groups.into_iter().filter_map(|group| {
        let node = group.key.filter(|node| !node.is_empty())?;
        let target = address(&node, port);
        Some(Group { targets: [target], labels: Labels { node, streams: group.streams.to_string() } })
    });
    // Serialising strings cannot fail.
    Ok(json(serde_json::to_string(&groups.collect::<Vec<_>>()).unwrap_or_default()))
}

fn address(node: &str, port: Option<u64>) -> String {
    match port {
        None => node.to_owned(),
        // An IPv6 address has brackets before a port.
        Some(port) if node.parse::<std::net::Ipv6Addr>().is_ok() => format!("[{node}]:{port}"),
        Some(port) => format!("{node}:{port}"),
    }
}

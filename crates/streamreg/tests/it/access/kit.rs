//! An access file, and a server that uses it.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::json;
use stream_registry::{MemoryRegistry, Stream};
use streamreg::server::{AccessFile, ServeOptions};
use tempfile::TempDir;

use crate::http::kit::{Response, Server, stream};

/// Returns the token with a name.
pub(crate) fn value(name: &str) -> String {
    format!("value-of-{name}")
}

/// Returns the lines of a token in the access file.
pub(crate) fn entry(name: &str, more: &str) -> String {
    let hash = ring::digest::digest(&ring::digest::SHA256, value(name).as_bytes());
    let hash: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("[[token]]\nname = \"{name}\"\nhash = \"sha256:{hash}\"\n{more}\n")
}

/// A server with an access file.
pub(crate) struct Guarded {
    pub(crate) server: Server,
    pub(super) registry: Arc<MemoryRegistry>,
    pub(super) file: PathBuf,
    _dir: TempDir,
}

impl Guarded {
    pub(crate) async fn start(content: &str) -> Self {
        Self::with_options(content, ServeOptions::default()).await
    }

    pub(super) async fn with_options(content: &str, options: ServeOptions) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("access.toml");
        std::fs::write(&file, content).unwrap();
        let registry = Arc::new(MemoryRegistry::new());
        let options = options.access_file(AccessFile::read(&file).unwrap());
        Self { server: Server::start(registry.clone(), options).await, registry, file, _dir: dir }
    }

    /// Sends a request with the token of a name, and with a JSON body.
    pub(crate) async fn request(&self, token: &str, method: &str, path: &str, body: &str) -> Response {
        let authorization = format!("Bearer {}", value(token));
        let headers = [("Authorization", authorization.as_str()), ("Content-Type", "application/json")];
        self.server.request(method, path, &headers, body).await
    }

    pub(super) async fn get(&self, token: &str, path: &str) -> Response {
        self.request(token, "GET", path, "").await
    }
}

/// Returns a record for a request body.
pub(super) fn record(id: &str, node: Option<&str>) -> String {
    json!({ "id": id, "type": "srt", "source_addr": "203.0.113.7:1", "node": node }).to_string()
}

/// Returns a stream of a node.
pub(super) fn of_node(id: &str, node: &str) -> Stream {
    let mut stream = stream(id);
    stream.node = Some(node.to_owned());
    stream
}

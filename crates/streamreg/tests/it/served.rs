//! A server with short leases, for tests of commands that hold a stream.
#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

use std::os::unix::process::CommandExt as _;
use std::sync::Arc;
use std::time::Duration;

use stream_registry::{
    ErrorKind, Guard, OnConflict, RegisterOptions, Registry as _, Stream, StreamId, StreamType, UnregisterOptions,
};
use streamreg::server::ServeOptions;

use crate::cli::{Running, program};
use crate::http::kit::{BlockingRegistry, Server, id, within};

/// A server with a time to live of 1 s, so that holders send five heartbeats per second.
pub(super) struct Served {
    pub(super) server: Server,
    pub(super) registry: Arc<BlockingRegistry>,
}

pub(super) const CAM: [&str; 6] = ["--id", "cam1", "--type", "srt", "--source", "203.0.113.7:40112"];

impl Served {
    pub(super) async fn start() -> Self {
        let registry = BlockingRegistry::with_ttl(Duration::from_secs(1));
        Self { server: Server::start(registry.clone(), ServeOptions::default()).await, registry }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.server.addr)
    }

    pub(super) fn hold(&self, args: &[&str]) -> Running {
        Running::start(&[&["register", "--hold", "--store", &self.url()], args].concat())
    }

    /// Starts `streamreg run` with a shell script.
    pub(super) fn run(&self, args: &[&str], script: &str) -> Running {
        let shell = ["--", "sh", "-c", script];
        let mut command = program(&[&["run", "--store", &self.url()], &CAM[..], args, &shell].concat());
        // The program runs in its own process group, so that it is never in the terminal's foreground.
        Running::spawn(command.process_group(0))
    }

    pub(super) fn ends(&self) -> Vec<(String, String)> {
        self.registry.unregistered.lock().unwrap().clone()
    }

    pub(super) async fn is_gone(&self) {
        let result = self.registry.inner.get(&id("cam1")).await;
        assert_eq!(result.unwrap_err().kind(), ErrorKind::NotFound);
    }

    /// Waits until the record of a stream meets a condition, and returns it.
    pub(super) async fn record(&self, id: &StreamId, is_met: impl Fn(&Stream) -> bool) -> Stream {
        within(async {
            loop {
                if let Ok(stream) = self.registry.inner.get(id).await
                    && is_met(&stream)
                {
                    return stream;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
    }

    /// Waits until no stream is live.
    pub(super) async fn is_empty(&self) {
        within(async {
            while !self.registry.inner.list().await.unwrap().is_empty() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }

    /// Takes the stream over as another publisher. Returns the new record.
    pub(super) async fn take_over(&self) -> Stream {
        let other = Stream::new(id("cam1"), StreamType::Srt, "198.51.100.9:9000");
        let options = RegisterOptions::default().on_conflict(OnConflict::TakeOver).lease();
        self.registry.inner.register_with(&other, &options).await.unwrap().stream
    }

    pub(super) async fn unregister_by_force(&self) {
        let force = UnregisterOptions::default().guard(Guard::Force);
        self.registry.inner.unregister_with(&id("cam1"), &force).await.unwrap();
    }
}

pub(super) fn ended(reason: &str) -> Vec<(String, String)> {
    vec![("cam1".to_owned(), reason.to_owned())]
}

//! A sweep without permission is logged once, not at each attempt.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use stream_registry::RedisRegistry;
use stream_registry::redis::RedisOptions;
use testkit::wait_until;

use super::{Bed, FACTS, PASSWORD, SOON, rights};

const WARNING: &str = "this Redis user lacks permission to report expired streams; another process must do it";

/// Log output of this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Returns the warnings about the sweep.
    fn warnings(&self) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().filter(|line| line.contains(WARNING)).map(str::to_owned).collect()
    }
}

/// Returns the number of commands denied by the server or by a script.
async fn refusals(bed: &Bed) -> u64 {
    let info = bed.server.cli(&["INFO", "errorstats"]).await;
    let count = info.lines().find_map(|line| line.strip_prefix("errorstat_NOPERM:count="));
    count.map_or(0, |count| count.trim().parse().unwrap())
}

async fn swept(bed: &Bed) -> u64 {
    bed.server.cli(&["HGET", FACTS, "swept"]).await.parse().unwrap_or(0)
}

// A single thread, because the log is captured per thread.
#[tokio::test]
async fn sweep_without_permission_is_logged_once_until_it_succeeds() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    // One permission is needed to read the due streams, and a script checks the other one before it writes.
    for right in ["zrangebyscore", "srem"] {
        let bed = Bed::start().await;
        bed.user("ingest", &rights::rules("ingest").join(" ")).await;
        let options: RedisOptions = bed.server.url_as("ingest", PASSWORD).parse().unwrap();
        let _store = RedisRegistry::connect(options.ttl(Duration::from_secs(1))).await.unwrap();
        wait_until(SOON, async || swept(&bed).await > 0).await;
        assert_eq!(log.warnings(), [""; 0]);
        for times in [1, 2] {
            bed.server.cli(&["ACL", "SETUSER", "ingest", &format!("-{right}")]).await;
            let before = refusals(&bed).await;
            wait_until(SOON, async || refusals(&bed).await >= before + 8).await;
            let warnings = log.warnings();
            assert_eq!(warnings.len(), times, "{right}: {warnings:?}");
            let names = |line: &String| line.contains(" WARN ") && line.to_lowercase().contains(right);
            assert!(warnings.iter().all(names), "{warnings:?}");
            bed.server.cli(&["ACL", "SETUSER", "ingest", &format!("+{right}")]).await;
            let before = swept(&bed).await;
            wait_until(SOON, async || swept(&bed).await > before).await;
        }
        log.0.lock().unwrap().clear();
    }
}

//! Checks that a sweep without permission is logged only once instead of at each attempt.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use stream_registry::RedisRegistry;
use stream_registry::redis::RedisOptions;
use testkit::wait_until;

use super::{FEED_METADATA, PASSWORD, TIMEOUT, TestRedis, permissions};

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
        let output = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        output.lines().filter(|line| line.contains(WARNING)).map(str::to_owned).collect()
    }
}

/// Returns the number of commands denied by the server or by a script.
async fn denials(redis: &TestRedis) -> u64 {
    let info = redis.server.cli(&["INFO", "errorstats"]).await;
    let count = info.lines().find_map(|line| line.strip_prefix("errorstat_NOPERM:count="));
    count.map_or(0, |count| count.trim().parse().unwrap())
}

async fn swept(redis: &TestRedis) -> u64 {
    redis.server.cli(&["HGET", FEED_METADATA, "swept"]).await.parse().unwrap_or(0)
}

// This test runs on a single thread, because the log is captured per thread.
#[tokio::test]
async fn sweep_without_permission_is_logged_once_until_it_succeeds() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    // The sweep needs `zrangebyscore` to read the due streams. The script of the sweep also checks the permission for
    // `srem` before its first write.
    for permission in ["zrangebyscore", "srem"] {
        let redis = TestRedis::start().await;
        redis.user("ingest", &permissions::rules("ingest").join(" ")).await;
        let options: RedisOptions = redis.server.url_as("ingest", PASSWORD).parse().unwrap();
        let _store = RedisRegistry::connect(options.ttl(Duration::from_secs(1))).await.unwrap();
        wait_until(TIMEOUT, async || swept(&redis).await > 0).await;
        assert_eq!(log.warnings(), [""; 0]);
        for times in [1, 2] {
            redis.server.cli(&["ACL", "SETUSER", "ingest", &format!("-{permission}")]).await;
            let before = denials(&redis).await;
            wait_until(TIMEOUT, async || denials(&redis).await >= before + 8).await;
            let warnings = log.warnings();
            assert_eq!(warnings.len(), times, "{permission}: {warnings:?}");
            let names = |line: &String| line.contains(" WARN ") && line.to_lowercase().contains(permission);
            assert!(warnings.iter().all(names), "{warnings:?}");
            redis.server.cli(&["ACL", "SETUSER", "ingest", &format!("+{permission}")]).await;
            let before = swept(&redis).await;
            wait_until(TIMEOUT, async || swept(&redis).await > before).await;
        }
        log.0.lock().unwrap().clear();
    }
}

//! Checks that a sweep without permission is logged only once instead of at each attempt.

use std::time::Duration;

use stream_registry::RedisRegistry;
use stream_registry::redis::RedisOptions;
use testkit::{CapturedLog, wait_until};

use super::{FEED_METADATA, PASSWORD, TIMEOUT, TestRedis, permissions};

const WARNING: &str = "this Redis user lacks permission to report expired streams; another process must do it";

/// Returns the warnings about the sweep.
fn warnings(log: &CapturedLog) -> Vec<String> {
    log.text().lines().filter(|line| line.contains(WARNING)).map(str::to_owned).collect()
}

/// Returns the number of commands denied by the server or by a script.
pub(super) async fn denials(redis: &TestRedis) -> u64 {
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
    let log = CapturedLog::start();
    // The sweep needs `zrangebyscore` to read the due streams. The script of the sweep also checks the permission for
    // `srem` before its first write.
    for permission in ["zrangebyscore", "srem"] {
        let redis = TestRedis::start().await;
        redis.user("ingest", &permissions::rules("server").join(" ")).await;
        let options: RedisOptions = redis.server.url_as("ingest", PASSWORD).parse().unwrap();
        let _store = RedisRegistry::connect(options.ttl(Duration::from_secs(1))).await.unwrap();
        wait_until(TIMEOUT, async || swept(&redis).await > 0).await;
        assert_eq!(warnings(&log), [""; 0]);
        for times in [1, 2] {
            redis.server.cli(&["ACL", "SETUSER", "ingest", &format!("-{permission}")]).await;
            let before = denials(&redis).await;
            wait_until(TIMEOUT, async || denials(&redis).await >= before + 8).await;
            let warnings = warnings(&log);
            assert_eq!(warnings.len(), times, "{permission}: {warnings:?}");
            let names = |line: &String| line.contains(" WARN ") && line.to_lowercase().contains(permission);
            assert!(warnings.iter().all(names), "{warnings:?}");
            redis.server.cli(&["ACL", "SETUSER", "ingest", &format!("+{permission}")]).await;
            let before = swept(&redis).await;
            wait_until(TIMEOUT, async || swept(&redis).await > before).await;
        }
        log.clear();
    }
}

//! Questions to a server that may be down or paused.

use std::time::Duration;

use redis::Value;

use super::RedisServer;

/// Maximum time to wait for a reply.
const REPLY_LIMIT: Duration = Duration::from_secs(1);

impl RedisServer {
    /// Runs a command as [`cli`](Self::cli) does, but returns an empty string if there is no reply within a second.
    ///
    /// Sets of servers repeat their questions until they change their state. A process of `redis-cli` for each question
    /// would take the processor time that the servers need.
    pub(super) async fn ask(&self, args: &[&str]) -> String {
        let (command, args) = args.split_first().expect("the command is not empty");
        let reply = async {
            let mut connection = self.client().get_multiplexed_async_connection().await?;
            redis::cmd(command).arg(args).query_async(&mut connection).await
        };
        match tokio::time::timeout(REPLY_LIMIT, reply).await {
            Ok(Ok(reply)) => lines(&reply),
            // The callers only compare the reply with what they wait for.
            Ok(Err(_)) | Err(_) => String::new(),
        }
    }
}

/// Returns a reply as `redis-cli` prints it: one line per element.
fn lines(reply: &Value) -> String {
    match reply {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::SimpleString(text) => text.clone(),
        Value::Okay => "OK".to_owned(),
        Value::Int(number) => number.to_string(),
        Value::Array(elements) => elements.iter().map(lines).collect::<Vec<_>>().join("\n"),
        _ => String::new(),
    }
}

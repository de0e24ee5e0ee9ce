//! The Redis server that the benchmark starts, and the statistics that this server reports.

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{AsyncConnectionConfig, IntoConnectionInfo, Value};
use testkit::{RedisBuilder, RedisServer};

use crate::Result;

/// A server, with a separate connection for reading its statistics.
pub(crate) struct Server {
    server: RedisServer,
    control: MultiplexedConnection,
}

/// An entry of Redis's slow log. After [`Server::log_all`], the slow log contains every command.
pub(crate) struct Logged {
    pub(crate) command: String,
    pub(crate) micros: u64,
}

impl Server {
    pub(crate) async fn start() -> Result<Self> {
        Self::with(RedisServer::builder()).await
    }

    pub(crate) async fn with(builder: RedisBuilder) -> Result<Self> {
        // Background rehashing and persistence are off, because they would add to the measured times.
        let server = builder.config("activerehashing no").start().await;
        let control = connect(&server.url()).await?;
        Ok(Self { server, control })
    }

    pub(crate) fn url(&self) -> String {
        self.server.url()
    }

    pub(crate) async fn version(&mut self) -> Result<String> {
        let info: String = redis::cmd("INFO").arg("server").query_async(&mut self.control).await?;
        Ok(field(&info, "redis_version:").unwrap_or("unknown").to_owned())
    }

    /// Resets the command statistics.
    pub(crate) async fn reset(&mut self) -> Result<()> {
        Ok(redis::cmd("CONFIG").arg("RESETSTAT").query_async(&mut self.control).await?)
    }

    /// Returns the total time in microseconds and the number of calls for these commands.
    ///
    /// The time of a script includes the commands that the script calls, so pass only commands that clients send.
    pub(crate) async fn spent(&mut self, commands: &[&str]) -> Result<(u64, u64)> {
        let info: String = redis::cmd("INFO").arg("commandstats").query_async(&mut self.control).await?;
        let mut sum = (0, 0);
        for command in commands {
            let Some(line) = field(&info, &format!("cmdstat_{command}:")) else { continue };
            for part in line.split(',') {
                match part.split_once('=') {
                    Some(("usec", usec)) => sum.0 += usec.parse::<u64>()?,
                    Some(("calls", calls)) => sum.1 += calls.parse::<u64>()?,
                    _ => {}
                }
            }
        }
        Ok(sum)
    }

    /// Returns the processor time that the server has used, in seconds.
    pub(crate) async fn cpu(&mut self) -> Result<f64> {
        let info: String = redis::cmd("INFO").arg("cpu").query_async(&mut self.control).await?;
        let seconds =
            |name: &str| -> Result<f64> { Ok(field(&info, name).ok_or("INFO contains no processor time")?.parse()?) };
        Ok(seconds("used_cpu_sys:")? + seconds("used_cpu_user:")?)
    }

    /// Returns the memory that the server has allocated, in bytes.
    pub(crate) async fn used_memory(&mut self) -> Result<u64> {
        let info: String = redis::cmd("INFO").arg("memory").query_async(&mut self.control).await?;
        Ok(field(&info, "used_memory:").ok_or("INFO contains no used memory")?.parse()?)
    }

    /// Returns the number of keys.
    pub(crate) async fn keys(&mut self) -> Result<u64> {
        Ok(redis::cmd("DBSIZE").query_async(&mut self.control).await?)
    }

    /// Returns the sum of `MEMORY USAGE` for these keys, in bytes.
    pub(crate) async fn memory_usage(&mut self, keys: &[String]) -> Result<u64> {
        let mut sum = 0;
        for keys in keys.chunks(1_000) {
            let mut pipeline = redis::pipe();
            for key in keys {
                pipeline.cmd("MEMORY").arg("USAGE").arg(key).arg("SAMPLES").arg(0);
            }
            let sizes: Vec<Option<u64>> = pipeline.query_async(&mut self.control).await?;
            sum += sizes.into_iter().flatten().sum::<u64>();
        }
        Ok(sum)
    }

    /// Starts logging every command with its time.
    pub(crate) async fn log_all(&mut self) -> Result<()> {
        for (name, value) in [("slowlog-max-len", 100_000), ("slowlog-log-slower-than", 0)] {
            redis::cmd("CONFIG").arg("SET").arg(name).arg(value).query_async::<()>(&mut self.control).await?;
        }
        Ok(redis::cmd("SLOWLOG").arg("RESET").query_async(&mut self.control).await?)
    }

    /// Stops logging and returns the logged commands, without the commands that control the log.
    pub(crate) async fn logged(&mut self) -> Result<Vec<Logged>> {
        let (set, name) = ("SET", "slowlog-log-slower-than");
        redis::cmd("CONFIG").arg(set).arg(name).arg(-1).query_async::<()>(&mut self.control).await?;
        let answer: Vec<Vec<Value>> = redis::cmd("SLOWLOG").arg("GET").arg(-1).query_async(&mut self.control).await?;
        let mut logged = Vec::with_capacity(answer.len());
        for entry in answer {
            let [_, _, micros, words, ..] = entry.as_slice() else { return Err("unexpected SLOWLOG reply".into()) };
            let words: Vec<Vec<u8>> = redis::from_redis_value_ref(words)?;
            let command = String::from_utf8_lossy(words.first().map_or(&[], Vec::as_slice)).to_ascii_uppercase();
            if !matches!(command.as_str(), "SLOWLOG" | "CONFIG") {
                logged.push(Logged { command, micros: redis::from_redis_value_ref(micros)? });
            }
        }
        Ok(logged)
    }
}

/// Opens a connection with the settings that all candidates use.
pub(crate) async fn connect(url: &str) -> Result<MultiplexedConnection> {
    let info = url.into_connection_info()?.set_tcp_settings(TcpSettings::default().set_nodelay(true));
    let config = AsyncConnectionConfig::new().set_response_timeout(Some(std::time::Duration::from_secs(10)));
    Ok(redis::Client::open(info)?.get_multiplexed_async_connection_with_config(&config).await?)
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

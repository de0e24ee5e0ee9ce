//! Opening a session on one server: address, credentials, database and the checks of the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, ProtocolVersion, PushInfo, PushKind, RedisConnectionInfo, RedisError, Value};

use super::connection::{Connection, Driver};
use super::credentials::rejected;
use super::endpoint::Endpoint;
use crate::error::{Error, ErrorKind, Result};
use crate::redis::clock::StoreClock;
use crate::redis::servers::Login;
use crate::redis::{fault, reply};

/// What a server must be, so that a store may use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// A server that is neither a Sentinel nor a node of a cluster.
    Standalone,
    /// The primary that Sentinels have named.
    Primary,
    /// A node of a Redis Cluster.
    ClusterNode,
}

/// Connects, authenticates, checks the server and reads its clock. Sets no timeout.
pub(super) async fn open(endpoint: &Endpoint, expected: Expected) -> Result<Connection> {
    let mut session = log_in(endpoint).await?;
    let hello = session.ask(&redis::cmd("HELLO")).await?;
    let version = Version::of(&hello);
    version.check()?;
    check_mode(&hello, expected, endpoint)?;
    let clock = StoreClock::measure(&mut session.inner).await?;
    Ok(Connection::new(session.inner, endpoint.clone(), clock, version.has_ifeq(), session.broken, session.driver))
}

/// Connects, authenticates, sends one command, and disconnects. Sets no timeout.
pub(super) async fn ask_once(endpoint: &Endpoint, command: &Cmd) -> Result<Value> {
    log_in(endpoint).await?.ask(command).await
}

/// A connection that has authenticated.
struct Session {
    inner: MultiplexedConnection,
    driver: Driver,
    /// Set when the connection is lost.
    broken: Arc<AtomicBool>,
}

impl Session {
    async fn ask(&mut self, command: &Cmd) -> Result<Value> {
        let answer = self.inner.send_packed_command(command).await.and_then(reply::checked);
        answer.map_err(|error| fault::translate(error, false))
    }
}

async fn log_in(endpoint: &Endpoint) -> Result<Session> {
    let credentials = &endpoint.access.credentials;
    let login = credentials.current();
    match log_in_as(endpoint, &login).await {
        Err(error) => match credentials.renew(&login, &error).await {
            Some(renewed) => log_in_as(endpoint, &renewed).await,
            None => Err(error),
        },
        session => session,
    }
}

async fn log_in_as(endpoint: &Endpoint, login: &Login) -> Result<Session> {
    let mut session = RedisConnectionInfo::default()
        .set_db(endpoint.access.database)
        // With RESP3, the Redis client reports a lost connection at once. With RESP2, it would report the loss only at
        // the next call.
        .set_protocol(ProtocolVersion::RESP3)
        .set_skip_set_lib_name();
    if let Some(user) = &login.user {
        session = session.set_username(user);
    }
    if let Some(password) = &login.password {
        session = session.set_password(password.reveal());
    }
    let broken = Arc::new(AtomicBool::new(false));
    let disconnected = Arc::clone(&broken);
    let config = AsyncConnectionConfig::new()
        // Each call sets its own timeout.
        .set_response_timeout(None)
        .set_push_sender(move |push: PushInfo| {
            if push.kind == PushKind::Disconnection {
                disconnected.store(true, Ordering::Release);
            }
            Ok::<_, std::convert::Infallible>(())
        });
    let stream = endpoint.open_stream().await?;
    let (inner, driver) = MultiplexedConnection::new_with_config(&session, stream, config)
        .await
        .map_err(|error| setup_fault(endpoint, error))?;
    Ok(Session { inner, driver: Driver::spawn(driver), broken })
}

/// Translates an error of the first commands on a connection.
fn setup_fault(endpoint: &Endpoint, error: RedisError) -> Error {
    if let Some(fault) = endpoint.tls_fault(&error) {
        return fault;
    }
    let address = &endpoint.address;
    // The Redis client wraps the server's error reply to HELLO. So only the message shows the cause of the error.
    let message = format!("{error} {}", error.detail().unwrap_or_default());
    if message.contains("WRONGPASS") || message.contains("NOAUTH") || message.contains("invalid username-password") {
        return rejected();
    }
    if message.contains("DB index is out of range") {
        return Error::invalid("Redis has no database with this number; check the store URL");
    }
    if message.contains("unknown command") {
        // The server's message may repeat the password, so the message is dropped.
        return Error::unsupported(
            "the server does not support HELLO; use Redis 7.0 or Valkey 7.2, with no command renamed",
        );
    }
    if fault::is_not_redis(&error) {
        let message = if endpoint.is_tls() {
            format!("the server at {address} is not Redis; check the store URL")
        } else {
            format!(
                "the server at {address} is not Redis; check the store URL (rediss:// for TLS, http:// for streamreg serve)"
            )
        };
        return Error::unsupported(message).with_source(error);
    }
    if error.is_connection_dropped() && !error.is_connection_refusal() {
        let hint = if endpoint.is_tls() {
            "try again, or check whether it demands a client certificate (cert, key)"
        } else {
            "try again, or check whether it expects TLS (rediss://)"
        };
        let message = format!("the server at {address} closed the connection before it replied; {hint}");
        return Error::new(ErrorKind::Unavailable, message).with_source(error);
    }
    fault::translate(error, false)
}

/// The program and the version of a server. Both are in the reply to `HELLO`. Unlike `INFO`, `HELLO` needs no
/// permission.
struct Version {
    server: String,
    text: String,
    numbers: (u32, u32),
}

impl Version {
    fn of(hello: &Value) -> Self {
        let server = reply::field(hello, "server").unwrap_or_else(|| "redis".to_owned());
        let text = reply::field(hello, "version").unwrap_or_else(|| "0".to_owned());
        let mut numbers = text.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
        let numbers = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        Self { server, text, numbers }
    }

    fn is_valkey(&self) -> bool {
        self.server == "valkey"
    }

    /// Rejects servers that are too old.
    fn check(&self) -> Result<()> {
        let (needed, name) = if self.is_valkey() { ((7, 2), "Valkey 7.2") } else { ((7, 0), "Redis 7.0") };
        if self.numbers < needed {
            let Self { server, text, .. } = self;
            return Err(Error::unsupported(format!("the server is {server} {text}; upgrade it to {name} or later")));
        }
        Ok(())
    }

    /// Returns whether `SET` has the option `IFEQ`. With `extended-redis-compatibility`, Valkey calls itself Redis
    /// 7.2.4, and the option is not used.
    fn has_ifeq(&self) -> bool {
        self.numbers >= if self.is_valkey() { (8, 1) } else { (8, 4) }
    }
}

/// Rejects servers of another topology than the URL says. The mode and the role are in the reply to `HELLO`, which, unlike
/// `ROLE`, needs no permission.
fn check_mode(hello: &Value, expected: Expected, endpoint: &Endpoint) -> Result<()> {
    let address = &endpoint.address;
    let scheme = if endpoint.is_tls() { "rediss" } else { "redis" };
    let mode = reply::field(hello, "mode");
    let is_cluster = mode.as_deref() == Some("cluster");
    if mode.as_deref() == Some("sentinel") {
        let message = format!("the server at {address} is a Sentinel; use {scheme}+sentinel://{address}/SERVICE");
        return Err(Error::unsupported(message));
    }
    match expected {
        Expected::Standalone | Expected::Primary if is_cluster => {
            let message =
                format!("the server at {address} is a node of a Redis Cluster; use {scheme}+cluster://{address}");
            Err(Error::unsupported(message))
        }
        Expected::ClusterNode if !is_cluster => {
            let message = format!("the server at {address} is not a node of a Redis Cluster; use {scheme}://{address}");
            Err(Error::unsupported(message))
        }
        Expected::Primary if reply::field(hello, "role").as_deref() != Some("master") => {
            let message = format!("Redis at {address} is not the primary yet or any more; try again shortly");
            Err(Error::new(ErrorKind::Unavailable, message))
        }
        Expected::Standalone | Expected::Primary | Expected::ClusterNode => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_decides_about_support_and_ifeq() {
        let hello = |server: &str, version: &str| {
            let string = |text: &str| Value::BulkString(text.as_bytes().to_vec());
            Value::Map(vec![(string("server"), string(server)), (string("version"), string(version))])
        };
        for (server, text, is_supported, has_ifeq) in [
            ("redis", "6.2.14", false, false),
            ("redis", "7.0.0", true, false),
            ("redis", "8.2.1", true, false),
            ("redis", "8.4.0", true, true),
            ("redis", "10.1", true, true),
            ("valkey", "7.0", false, false),
            ("valkey", "7.2.0", true, false),
            ("valkey", "8.0.6", true, false),
            ("valkey", "8.1.1", true, true),
            ("redis", "", false, false),
        ] {
            let version = Version::of(&hello(server, text));
            assert_eq!((version.check().is_ok(), version.has_ifeq()), (is_supported, has_ifeq), "{server} {text}");
            if let Err(error) = version.check() {
                assert!(error.message().contains(text), "{error}");
            }
        }
    }
}

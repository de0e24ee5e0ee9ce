//! A connection to one server: TCP or unix socket, with password or ACL user and a database number.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, ConnectionAddr, IntoConnectionInfo, ProtocolVersion, PushInfo, PushKind,
    RedisConnectionInfo, Value,
};

use super::Connection;
use crate::error::{Error, ErrorKind, Result};
use crate::redis::clock::StoreClock;
use crate::redis::options::{Address, CONNECT_TIMEOUT, RedisOptions};
use crate::redis::{fault, reply};

/// Connects, authenticates, checks the version and measures the clock.
pub(super) async fn open(options: &RedisOptions) -> Result<Connection> {
    let fault = |error| fault::translate(error, false);
    let mut session = RedisConnectionInfo::default()
        .set_db(options.database)
        // RESP3 tells of a lost connection at once, not at the next call.
        .set_protocol(ProtocolVersion::RESP3)
        .set_skip_set_lib_name();
    if let Some(user) = &options.user {
        session = session.set_username(user);
    }
    if let Some(password) = &options.password {
        session = session.set_password(password);
    }
    let address = match &options.address {
        Address::Tcp(host, port) => ConnectionAddr::Tcp(host.clone(), *port),
        Address::Unix(path) => ConnectionAddr::Unix(path.clone()),
    };
    let info = address
        .into_connection_info()
        .map_err(fault)?
        .set_redis_settings(session)
        // Off by default in the client crate, which costs 40 ms a call where acknowledgements are delayed.
        .set_tcp_settings(TcpSettings::default().set_nodelay(true));
    let broken = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&broken);
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        // Time-outs are per operation, around each call.
        .set_response_timeout(None)
        .set_push_sender(move |push: PushInfo| {
            if push.kind == PushKind::Disconnection {
                seen.store(true, Ordering::Release);
            }
            Ok::<_, std::convert::Infallible>(())
        });
    let client = redis::Client::open(info).map_err(fault)?;
    let mut inner = client.get_multiplexed_async_connection_with_config(&config).await.map_err(|error| {
        // The client crate wraps the server's refusal of HELLO; its words say which it is.
        let words = format!("{error} {}", error.detail().unwrap_or_default());
        if words.contains("WRONGPASS") || words.contains("NOAUTH") || words.contains("invalid username-password") {
            return Error::new(ErrorKind::Denied, "Redis refuses user or password; check them in the store's URL");
        }
        if words.contains("DB index is out of range") {
            return Error::invalid("Redis has no database of this number; check the store's URL");
        }
        if words.contains("unknown command") {
            // Its words may repeat the password, so nothing of them goes on.
            return Error::unsupported(
                "the server does not know HELLO; use Redis 7.0 or Valkey 7.2, with no command renamed",
            );
        }
        fault::translate(error, false)
    })?;
    let hello = inner.send_packed_command(&redis::cmd("HELLO")).await.and_then(fault::checked).map_err(fault)?;
    check_version(&hello)?;
    let clock = StoreClock::measure(&mut inner).await?;
    Ok(Connection { inner, clock: Arc::new(clock), broken, receiving: Arc::default() })
}

/// Refuses servers that are too old; `HELLO` answers to anybody who may connect, unlike `INFO`.
fn check_version(hello: &Value) -> Result<()> {
    let (server, version) = (reply::field(hello, "server"), reply::field(hello, "version"));
    let (server, version) = (server.as_deref().unwrap_or("redis"), version.as_deref().unwrap_or("0"));
    let mut numbers = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    let have = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let (need, name) = if server == "valkey" { ((7, 2), "Valkey 7.2") } else { ((7, 0), "Redis 7.0") };
    if have < need {
        return Err(Error::unsupported(format!(
            "the server is {server} {version}; {name} or later is needed, please upgrade it"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_servers_are_refused_by_name() {
        let hello = |server: &str, version: &str| {
            let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
            Value::Map(vec![(text("server"), text(server)), (text("version"), text(version))])
        };
        for (server, version, good) in [
            ("redis", "7.0.0", true),
            ("redis", "6.2.14", false),
            ("redis", "10.1", true),
            ("valkey", "7.2.0", true),
            ("valkey", "7.0", false),
            ("redis", "", false),
        ] {
            let checked = check_version(&hello(server, version));
            assert_eq!(checked.is_ok(), good, "{server} {version}");
            if let Err(error) = checked {
                assert!(error.message().contains(version), "{error}");
            }
        }
    }
}

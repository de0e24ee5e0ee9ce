//! The parser of a Redis store's URL.

use std::str::FromStr;

use url::Url;

use super::options::RedisOptions;
use super::servers::{Address, ClusterOptions, Login, SHARD_COUNTS, SentinelOptions, Servers};
use crate::error::{Error, Result};
use crate::percent::decode;
use crate::secret::Secret;
use crate::tls::options::{TlsOptions, TlsParameters};

/// Expected forms of the URL, for error messages.
const FORMS: &str = "expected redis://[user:password@]host[:port][/database], rediss://…, redis+unix:///path/to/socket, \
    redis+sentinel://host,host,host/service or redis+cluster://host,host";

fn bad(why: impl std::fmt::Display) -> Error {
    // The URL may contain a password, so the message does not repeat the URL.
    Error::invalid(format!("the store URL {why}; {FORMS}"))
}

/// The kind of servers that a scheme stands for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Single,
    Unix,
    Sentinel,
    Cluster,
}

impl Kind {
    /// Returns the kind and whether connections use TLS.
    fn from_scheme(scheme: &str) -> Option<(Self, bool)> {
        Some(match scheme {
            "redis" => (Self::Single, false),
            "rediss" => (Self::Single, true),
            "redis+unix" | "unix" => (Self::Unix, false),
            "redis+sentinel" => (Self::Sentinel, false),
            "rediss+sentinel" => (Self::Sentinel, true),
            "redis+cluster" => (Self::Cluster, false),
            "rediss+cluster" => (Self::Cluster, true),
            _ => return None,
        })
    }

    fn default_port(self) -> u16 {
        if self == Self::Sentinel { 26379 } else { 6379 }
    }
}

impl FromStr for RedisOptions {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Some(special) = unencoded_character(text) {
            let code = u32::from(special);
            return Err(bad(format!(
                "has {special} before @; write {special} in a user name or password as %{code:02X}"
            )));
        }
        let (text, more_hosts) = split_hosts(text);
        let url = Url::parse(&text).map_err(|fault| bad(format!("is invalid ({fault})")))?;
        let (kind, is_tls) = Kind::from_scheme(url.scheme()).ok_or_else(|| bad("has an unknown scheme"))?;
        if url.fragment().is_some() {
            return Err(bad("has a fragment (#); encode # as %23"));
        }
        if !more_hosts.is_empty() && !matches!(kind, Kind::Sentinel | Kind::Cluster) {
            return Err(bad("has several hosts; only redis+sentinel:// and redis+cluster:// accept them"));
        }
        let mut options = Self::new(servers(kind, &url, &more_hosts)?);
        options.tls = is_tls.then(TlsOptions::default);
        options.login = login(&url)?;
        let database = if kind == Kind::Single { url.path().trim_start_matches('/') } else { "" };
        options.database = database_number(database)?;
        let mut tls = TlsParameters::default();
        for (name, value) in url.query_pairs() {
            match (&*name, &mut options.servers) {
                (name, _) if TlsParameters::NAMES.contains(&name) => {
                    if !is_tls {
                        let scheme = url.scheme().replacen("redis", "rediss", 1);
                        let suggestion = if kind == Kind::Unix { "rediss" } else { &scheme };
                        return Err(bad(format!(
                            "has the TLS parameter {name}; write {suggestion}:// or remove {name}"
                        )));
                    }
                    tls.set(name, value.into_owned()).map_err(bad)?;
                }
                ("db", Servers::Cluster(_)) => return Err(bad("has a database; a Redis Cluster has only database 0")),
                ("db", _) => options.database = database_number(&value)?,
                ("user", _) if kind == Kind::Unix => options.login.user = non_empty(value.into_owned()),
                ("pass", _) if kind == Kind::Unix => {
                    options.login.password = non_empty(value.into_owned()).map(Secret::new);
                }
                ("sentinel_user", Servers::Sentinel(sentinel)) => sentinel.login.user = non_empty(value.into_owned()),
                ("sentinel_pass", Servers::Sentinel(sentinel)) => {
                    sentinel.login.password = non_empty(value.into_owned()).map(Secret::new);
                }
                ("sentinel_tls", Servers::Sentinel(sentinel)) => {
                    sentinel.tls =
                        value.parse().map_err(|_| bad("has an invalid value of sentinel_tls; write false"))?;
                }
                ("shards", Servers::Cluster(cluster)) => cluster.shards = Some(shard_count(&value)?),
                // The message does not name the parameter, because the name may be part of a password that contains ?
                // or &.
                _ => return Err(bad("has an unknown parameter; encode ? and & in a password as %3F and %26")),
            }
        }
        let sentinel = if let Servers::Sentinel(sentinel) = &options.servers { Some(&sentinel.login) } else { None };
        if std::iter::once(&options.login).chain(sentinel).any(|login| login.user.is_some() && login.password.is_none())
        {
            return Err(bad("has a user name without a password"));
        }
        if let Some(options) = &mut options.tls {
            *options = tls.options().map_err(bad)?;
        }
        Ok(options)
    }
}

/// Splits a URL with several hosts into a URL with the first host, and the other hosts.
fn split_hosts(text: &str) -> (String, Vec<String>) {
    let start = text.find("://").map_or(text.len(), |scheme| scheme + 3);
    let end = text[start..].find(['/', '?', '#']).map_or(text.len(), |end| start + end);
    let start = text[start..end].rfind('@').map_or(start, |at| start + at + 1);
    let mut hosts = text[start..end].split(',');
    let first = hosts.next().unwrap_or_default();
    (format!("{}{first}{}", &text[..start], &text[end..]), hosts.map(str::to_owned).collect())
}

fn servers(kind: Kind, url: &Url, more_hosts: &[String]) -> Result<Servers> {
    if kind == Kind::Unix {
        let path = decode(url.path()).filter(|path| path.len() > 1 && url.host_str().unwrap_or("").is_empty());
        let path = path.ok_or_else(|| bad("has no socket path after the third slash"))?;
        return Ok(Servers::Single(Address::Unix(path.into())));
    }
    let first = address(url, kind.default_port())?;
    let more = more_hosts.iter().map(|host| {
        let url = Url::parse(&format!("redis://{host}")).map_err(|fault| bad(format!("is invalid ({fault})")))?;
        address(&url, kind.default_port())
    });
    let addresses = std::iter::once(Ok(first)).chain(more).collect::<Result<Vec<_>>>()?;
    let path = decode(url.path().trim_start_matches('/')).ok_or_else(|| bad("has an invalid path"))?;
    Ok(match kind {
        Kind::Sentinel if path.is_empty() => {
            return Err(bad("has no name of a service after the hosts; it is the name in sentinel monitor"));
        }
        Kind::Sentinel => Servers::Sentinel(SentinelOptions {
            sentinels: addresses,
            service: path,
            login: Login::default(),
            tls: true,
        }),
        Kind::Cluster if !path.is_empty() => {
            return Err(bad("has a path; a Redis Cluster has only database 0, so write nothing after the hosts"));
        }
        Kind::Cluster => Servers::Cluster(ClusterOptions { nodes: addresses, shards: None }),
        Kind::Single | Kind::Unix => Servers::Single(addresses.into_iter().next().ok_or_else(|| bad("has no host"))?),
    })
}

fn address(url: &Url, default_port: u16) -> Result<Address> {
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| bad("has no host"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let host = decode(host).ok_or_else(|| bad("has an invalid host"))?;
    Ok(Address::Tcp(host, url.port().unwrap_or(default_port)))
}

fn login(url: &Url) -> Result<Login> {
    let user = decode(url.username()).ok_or_else(|| bad("has an invalid user name; write % as %25"))?;
    let password = decode(url.password().unwrap_or_default());
    let password = password.ok_or_else(|| bad("has an invalid password; write % as %25"))?;
    Ok(Login { user: non_empty(user), password: non_empty(password).map(Secret::new) })
}

/// Returns the first character before the `@` of a URL with a host that ends the host name unless it is
/// percent-encoded.
///
/// Without this check, a password with such a character would cause an error about an empty host or an invalid port.
fn unencoded_character(text: &str) -> Option<char> {
    let (_, rest) = text.split_once("://").filter(|(scheme, _)| !scheme.ends_with("unix"))?;
    let (credentials, _) = rest.rsplit_once('@')?;
    credentials.chars().find(|one| matches!(one, '/' | '?' | '#'))
}

fn non_empty(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn database_number(text: &str) -> Result<i64> {
    if text.is_empty() {
        return Ok(0);
    }
    text.parse::<u32>().map(i64::from).map_err(|_| bad("has an invalid database number"))
}

fn shard_count(text: &str) -> Result<u16> {
    let count = text.parse().ok().filter(|count| SHARD_COUNTS.contains(count));
    count.ok_or_else(|| bad("has an invalid number of shards; write 1, 2, 4, 8, 16, 32 or 64"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::options::Identity;

    #[test]
    fn redis_options_parse_every_form_of_url() {
        let full: RedisOptions = "redis://us%40er:p%2Fw@h:1/7".parse().unwrap();
        assert_eq!(
            (full.login.user.as_deref(), full.login.password, full.database),
            (Some("us@er"), Some("p/w".into()), 7)
        );
        assert_eq!(full.servers.to_string(), "h:1");
        let v6: RedisOptions = "redis://[::1]".parse().unwrap();
        assert_eq!(v6.servers.to_string(), "[::1]:6379");
        let password_only: RedisOptions = "redis://:pw@h".parse().unwrap();
        assert_eq!((password_only.login.user, password_only.login.password), (None, Some("pw".into())));
        let unix: RedisOptions = "redis+unix:///run/re%20dis.sock?db=3&user=u&pass=p".parse().unwrap();
        assert_eq!((unix.servers.to_string().as_str(), unix.database), ("/run/re dis.sock", 3));
    }

    #[test]
    fn error_for_an_invalid_redis_url_hides_the_password() {
        for url in [
            "redis://:secret@",
            "redis://u:secret@h/x",
            "redis://u:secret@h/-1",
            "redis://u:secret@h?db=x",
            "redis://u:secret@h?timeout=5",
            "redis://u:secret@h#a",
            "redis://u:secret@h:99999",
            "redis://u:secret%ff@h",
            "rediss://u:secret@h?insecure=maybe",
            "rediss://u:secret@h?ca=",
            "redis://u:secret@h?ca=a.pem",
            "rediss://u:se/cret@h",
            "rediss://u:secret@h?timeout=1",
            "redis+unix://host/path?pass=secret",
            "redis+unix:///",
            "http://u:secret@h",
            "secret",
        ] {
            let fault = url.parse::<RedisOptions>().unwrap_err();
            assert!(!format!("{fault} {fault:?}").contains("secret"), "{url}: {fault:?}");
        }
        assert!("redis://user@h".parse::<RedisOptions>().is_err());
    }

    #[test]
    fn error_for_an_unencoded_password_names_the_character_to_encode() {
        for (url, expected) in [
            ("redis://:a#b@h", "has # before @; write # in a user name or password as %23"),
            ("redis://:a/b@h:6379/0", "has / before @; write / in a user name or password as %2F"),
            ("redis://u:a?b#c@h", "has ? before @; write ? in a user name or password as %3F"),
            ("redis://u:12/b@h", "as %2F"),
            ("redis://u#v:a@h", "as %23"),
            ("redis://u:a%b@h", "invalid password; write % as %25"),
            ("redis://a%b:p@h", "invalid user name; write % as %25"),
            ("redis+unix:///run/redis.sock?pass=a#b", "encode # as %23"),
        ] {
            let error = url.parse::<RedisOptions>().unwrap_err();
            assert!(error.message().contains(expected), "{url}: {error}");
        }
        let encoded: RedisOptions = "redis://:a%23%2F%3F@h".parse().unwrap();
        assert_eq!(encoded.login.password, Some("a#/?".into()));
        let at: RedisOptions = "redis://:a@b@h".parse().unwrap();
        assert_eq!(at.login.password, Some("a@b".into()));
    }

    #[test]
    fn rediss_url_sets_the_options_of_tls() {
        let plain: RedisOptions = "redis://h".parse().unwrap();
        assert_eq!(plain.tls, None);
        let simple: RedisOptions = "rediss://u:p@h/2".parse().unwrap();
        assert_eq!((simple.tls, simple.database), (Some(TlsOptions::default()), 2));
        let full: RedisOptions =
            "rediss://10.0.0.5:6380?ca=/etc/c%20a.pem&cert=c.pem&key=k.pem&server_name=redis.example&db=3"
                .parse()
                .unwrap();
        let expected = TlsOptions {
            ca: Some("/etc/c a.pem".into()),
            identity: Some(Identity { cert: "c.pem".into(), key: "k.pem".into() }),
            server_name: Some("redis.example".into()),
            insecure: false,
        };
        assert_eq!((full.tls, full.database, full.servers.to_string().as_str()), (Some(expected), 3, "10.0.0.5:6380"));
        let insecure: RedisOptions = "rediss://h?insecure=true".parse().unwrap();
        assert!(insecure.tls.unwrap().insecure);
        let secure: RedisOptions = "rediss://h?insecure=false".parse().unwrap();
        assert!(!secure.tls.unwrap().insecure);
    }

    #[test]
    fn error_for_an_invalid_tls_parameter_names_it() {
        for (url, expected) in [
            ("redis://h?ca=a.pem", "has the TLS parameter ca; write rediss:// or remove ca"),
            ("redis://h?insecure=true", "has the TLS parameter insecure; write rediss:// or remove insecure"),
            ("redis+unix:///run/redis.sock?cert=a.pem", "has the TLS parameter cert"),
            ("rediss://h?cert=a.pem", "has cert without key; add key=FILE"),
            ("rediss://h?key=a.pem", "has key without cert; add cert=FILE"),
            ("rediss://h?ca=", "has an empty parameter ca"),
            ("rediss://h?server_name=", "has an empty parameter server_name"),
            ("rediss://h?insecure=yes", "has an invalid value of insecure; write insecure=true"),
            ("rediss://h?ca=a.pem&insecure=true", "has both ca and insecure=true"),
            ("rediss://:a/b@h", "has / before @; write / in a user name or password as %2F"),
            ("rediss://", "has no host"),
        ] {
            let error = url.parse::<RedisOptions>().unwrap_err();
            assert!(error.message().contains(expected), "{url}: {error}");
        }
    }

    #[test]
    fn sentinel_url_has_hosts_and_a_service() {
        let options: RedisOptions =
            "redis+sentinel://u:p%2C@a,10.0.0.2:7000,[::1]/my%20master?db=3&sentinel_user=s&sentinel_pass=q"
                .parse()
                .unwrap();
        assert_eq!((options.login.password, options.database, options.tls), (Some("p,".into()), 3, None));
        assert_eq!(options.servers.to_string(), "a:26379,10.0.0.2:7000,[::1]:26379");
        let Servers::Sentinel(sentinel) = options.servers else { panic!("{:?}", options.servers) };
        let login = Login { user: Some("s".to_owned()), password: Some("q".into()) };
        assert_eq!((sentinel.service.as_str(), sentinel.login, sentinel.tls), ("my master", login, true));
        let options: RedisOptions = "rediss+sentinel://a/s?sentinel_tls=false&ca=c.pem".parse().unwrap();
        assert_eq!(options.tls.unwrap().ca, Some("c.pem".into()));
        assert!(matches!(options.servers, Servers::Sentinel(SentinelOptions { tls: false, .. })));
    }

    #[test]
    fn cluster_url_has_hosts_and_a_number_of_shards() {
        let options: RedisOptions = "rediss+cluster://u:p@a,b:7000,[::1]:7001?shards=32&insecure=true".parse().unwrap();
        assert_eq!(options.servers.to_string(), "a:6379,b:7000,[::1]:7001");
        assert!(matches!(options.servers, Servers::Cluster(ClusterOptions { shards: Some(32), .. })));
        assert!(options.tls.unwrap().insecure);
        let options: RedisOptions = "redis+cluster://a".parse().unwrap();
        assert!(matches!(options.servers, Servers::Cluster(ClusterOptions { shards: None, .. })));
    }

    #[test]
    fn error_for_an_invalid_url_of_several_servers_says_what_to_write() {
        for (url, expected) in [
            ("redis://a,b", "has several hosts; only redis+sentinel:// and redis+cluster:// accept them"),
            ("redis+sentinel://a,b", "has no name of a service after the hosts"),
            ("redis+sentinel://a,,b/s", "has no host"),
            ("redis+sentinel://a,b:x/s", "is invalid (invalid port number)"),
            ("redis+sentinel://a/s?sentinel_tls=no", "has an invalid value of sentinel_tls; write false"),
            ("redis+sentinel://a/s?sentinel_user=u", "has a user name without a password"),
            ("redis+sentinel://a/s?ca=c.pem", "has the TLS parameter ca; write rediss+sentinel:// or remove ca"),
            ("redis+sentinel://:a/b@h/s", "has / before @"),
            ("redis+sentinel:///s", "has no host"),
            ("redis+cluster://a/3", "has a path; a Redis Cluster has only database 0"),
            ("redis+cluster://a?db=3", "has a database; a Redis Cluster has only database 0"),
            ("redis+cluster://a?shards=12", "has an invalid number of shards; write 1, 2, 4, 8, 16, 32 or 64"),
            ("redis+cluster://a?service=x", "has an unknown parameter"),
            ("redis://a?shards=16", "has an unknown parameter"),
        ] {
            let error = url.parse::<RedisOptions>().unwrap_err();
            assert!(error.message().contains(expected), "{url}: {error}");
        }
        for url in ["redis+sentinel://u:secret@a,b:secret/s", "redis+cluster://u:secret@a,b,?x=secret"] {
            let error = url.parse::<RedisOptions>().unwrap_err();
            assert!(!format!("{error} {error:?}").contains("secret"), "{url}: {error:?}");
        }
    }
}

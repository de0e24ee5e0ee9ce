//! The settings of TLS in a store's URL.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Settings of TLS. The fields correspond to the parameters of the URL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TlsOptions {
    pub(crate) ca: Option<PathBuf>,
    pub(crate) identity: Option<Identity>,
    pub(crate) server_name: Option<String>,
    pub(crate) insecure: bool,
}

/// The files of the client's certificate and of its private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

/// The kind of server at the other end, for error messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "tls"), allow(dead_code))]
pub(crate) enum Peer {
    #[cfg(feature = "redis")]
    Redis,
    #[cfg(feature = "http")]
    Http,
    /// A server of another program, such as the receiver of webhooks.
    #[cfg(feature = "http")]
    Receiver,
}

/// What differs between connections to stores and to other servers.
#[cfg_attr(not(feature = "tls"), allow(dead_code))]
pub(crate) struct Settings {
    /// Timeout of a handshake. It is shorter than the timeout of the whole connection attempt, so that the error can
    /// name the handshake.
    pub(crate) handshake_timeout: Duration,
    /// The name of the setting for the file of CAs.
    pub(crate) ca: &'static str,
    /// How to trust another CA.
    pub(crate) add_ca: &'static str,
    /// What to do if the certificate is for another name.
    pub(crate) correct_name: &'static str,
    /// What to do if the server demands a certificate of the client.
    pub(crate) add_identity: &'static str,
}

const STORE: Settings = Settings {
    handshake_timeout: Duration::from_secs(1),
    ca: "ca",
    add_ca: "add ca=FILE to the store URL",
    correct_name: "correct the host, or add server_name=NAME to the store URL",
    add_identity: "add cert=FILE and key=FILE to the store URL",
};

/// A receiver can be anywhere on the internet.
#[cfg(feature = "http")]
const RECEIVER: Settings = Settings {
    handshake_timeout: Duration::from_secs(5),
    ca: "ca_file",
    add_ca: "set ca_file",
    correct_name: "correct the host in its URL",
    add_identity: "let it accept connections without one",
};

#[cfg_attr(not(feature = "tls"), allow(dead_code))]
impl Peer {
    /// Returns the settings of connections to this kind of server.
    pub(crate) fn settings(self) -> &'static Settings {
        match self {
            #[cfg(feature = "http")]
            Self::Receiver => &RECEIVER,
            _ => &STORE,
        }
    }

    /// Returns the scheme of URLs without TLS.
    pub(crate) fn plain_scheme(self) -> &'static str {
        match self {
            #[cfg(feature = "redis")]
            Self::Redis => "redis://",
            #[cfg(feature = "http")]
            Self::Http | Self::Receiver => "http://",
        }
    }

    /// Returns where the server's versions of TLS and its ciphers are set.
    pub(crate) fn tls_settings(self) -> &'static str {
        match self {
            #[cfg(feature = "redis")]
            Self::Redis => "tls-protocols in its settings",
            #[cfg(feature = "http")]
            Self::Http | Self::Receiver => "its settings of TLS",
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            #[cfg(feature = "redis")]
            Self::Redis => "Redis",
            #[cfg(feature = "http")]
            Self::Http | Self::Receiver => "the server",
        })
    }
}

/// The parameters of TLS as they are in the URL.
#[derive(Default)]
pub(crate) struct TlsParameters {
    ca: Option<String>,
    cert: Option<String>,
    key: Option<String>,
    server_name: Option<String>,
    insecure: bool,
}

impl TlsParameters {
    /// The names of all parameters.
    pub(crate) const NAMES: [&str; 5] = ["ca", "cert", "key", "server_name", "insecure"];

    /// Sets a parameter. The error does not repeat the value.
    pub(crate) fn set(&mut self, name: &str, value: String) -> Result<(), String> {
        let parameter = match name {
            "ca" => &mut self.ca,
            "cert" => &mut self.cert,
            "key" => &mut self.key,
            "server_name" => &mut self.server_name,
            _ => {
                self.insecure = value.parse().map_err(|_| "has an invalid value of insecure; write insecure=true")?;
                return Ok(());
            }
        };
        if value.is_empty() {
            return Err(format!("has an empty parameter {name}"));
        }
        *parameter = Some(value);
        Ok(())
    }

    /// Returns the settings, unless two parameters contradict each other.
    pub(crate) fn options(self) -> Result<TlsOptions, &'static str> {
        if self.insecure && self.ca.is_some() {
            return Err("has both ca and insecure=true; remove one of them");
        }
        let identity = match (self.cert, self.key) {
            (Some(cert), Some(key)) => Some(Identity { cert: cert.into(), key: key.into() }),
            (None, None) => None,
            (Some(_), None) => return Err("has cert without key; add key=FILE"),
            (None, Some(_)) => return Err("has key without cert; add cert=FILE"),
        };
        let ca = self.ca.map(PathBuf::from);
        Ok(TlsOptions { ca, identity, server_name: self.server_name, insecure: self.insecure })
    }
}

//! Rejects requests for host names that are not this server's.
//!
//! A web page of another host can let its own name resolve to the address of this server (DNS rebinding). For the
//! browser, the page and the server then have the same origin, so the page could read everything. But the browser still
//! sends the name of the page: in the header `Host` with HTTP/1.1, and in the field `:authority` with HTTP/2.

use std::net::IpAddr;

use axum::http::header::HOST;
use axum::http::uri::Authority;
use axum::http::{HeaderName, HeaderValue, Request, Version};
use axum::response::Response;

use crate::server::problem::{Failure, Result};

/// Keeps pages of other sites from loading responses, for example as images or scripts.
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// A host in a `Host` header or an origin.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Host {
    /// `localhost` or a name below it, which browsers never look up in the DNS (RFC 6761, section 6.3).
    Local,
    /// An IP address. A page cannot rebind an address.
    Address(IpAddr),
    /// Any other name, in lower case and without a final dot.
    Name(String),
}

impl Host {
    /// Parses the host of a URI, without a port. IPv6 addresses are in brackets.
    pub(super) fn parse(host: &str) -> Self {
        let name = host.strip_suffix('.').unwrap_or(host);
        let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        if let Ok(address) = address.parse() {
            return Self::Address(address);
        }
        let name = name.to_ascii_lowercase();
        if name == "localhost" || name.ends_with(".localhost") { Self::Local } else { Self::Name(name) }
    }
}

fn normalised(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// Checks that the host of a request is allowed.
///
/// If any route can be read without a token, this applies to every route.
pub(super) fn check<B>(request: &Request<B>, allowed: &[String]) -> Result<()> {
    let mut values = request.headers().get_all(HOST).iter();
    // With HTTP/2, the host is in the target of the request (RFC 9113, section 8.3.1). Only a request that a proxy has
    // translated from HTTP/1.1 may have the header instead. With HTTP/1.1, a host in the target takes precedence, but
    // the header is necessary. In any case, a request with two hosts needs the permission for both.
    let target = request.uri().authority();
    let header = match (values.next(), values.next()) {
        (Some(value), None) => Some(parse(value)?),
        (None, _) if request.version() == Version::HTTP_2 && target.is_some() => None,
        _ => return Err(Failure::invalid("missing or duplicate header Host; send it once")),
    };
    for authority in [header.as_ref(), target].into_iter().flatten() {
        if authority.as_str().contains('@') {
            return Err(invalid());
        }
        if let Host::Name(name) = Host::parse(authority.host())
            && !allowed.iter().any(|allowed| normalised(allowed) == name)
        {
            return Err(Failure::host_not_allowed(&name));
        }
    }
    Ok(())
}

fn parse(value: &HeaderValue) -> Result<Authority> {
    value.to_str().ok().and_then(|value| value.parse().ok()).ok_or_else(invalid)
}

fn invalid() -> Failure {
    Failure::invalid("invalid host name in the request; expected HOST or HOST:PORT")
}

/// Adds the header that keeps pages of other sites from loading a response.
pub(super) fn protect(response: &mut Response) {
    response.headers_mut().insert(RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_local_names_are_recognised() {
        for local in ["localhost", "LOCALHOST", "localhost.", "a.localhost", "a.b.Localhost."] {
            assert_eq!(Host::parse(local), Host::Local, "{local}");
        }
        for address in ["127.0.0.1", "192.0.2.7", "[::1]", "[2001:db8::1]"] {
            assert!(matches!(Host::parse(address), Host::Address(_)), "{address}");
        }
        for name in ["", ".", "example.com", "localhost.example.com", "notlocalhost", "127.0.0.1.example.com", "127.1"]
        {
            assert!(matches!(Host::parse(name), Host::Name(_)), "{name}");
        }
    }
}

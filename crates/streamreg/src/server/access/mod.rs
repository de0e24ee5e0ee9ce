//! Which requests the server accepts.
//!
//! `host` rejects requests for other host names, and `origin` decides about web pages of other origins. `token` defines
//! tokens and their hashes, `scope` and `pattern` the rights of a token, `file` the file that lists tokens, and
//! `reload` reads this file and the files of single tokens again. `writer` applies the rights to each write, and
//! `write_log` logs it.

mod caller;
mod file;
mod host;
mod origin;
mod pattern;
mod reload;
mod scope;
mod token;
mod tokens;
mod write_log;
mod writer;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, HeaderValue, Method, Request};
use axum::response::{IntoResponse as _, Response};
use stream_registry::http::wire::read_only_server;
use stream_registry::registry::StoreInfo;

use self::origin::Origins;
use self::reload::Current;
use self::tokens::{Token, Tokens};
use super::once_per_minute::OncePerMinute;
use super::options::ServeOptions;
use super::problem::{Failure, Result};
use super::reloaded::ReloadedFile;
use super::request_id::RequestId;

pub(super) use caller::Caller;
pub(crate) use file::check_name;
pub use origin::AllowedOrigin;
pub(crate) use pattern::Pattern;
pub use reload::{AccessFile, TokenFiles};
pub(crate) use scope::Scope;
pub(crate) use token::{TokenHash, check_token, generate, is_intact};
pub(super) use writer::Writer;

/// The rules by which a server accepts requests.
#[derive(Debug)]
pub(super) struct Access {
    tokens: Current,
    hosts: Vec<String>,
    origins: Origins,
    /// Limits the log lines about rejected tokens, by name. A client with such a token may send any number of requests.
    rejected: Mutex<HashMap<String, OncePerMinute>>,
    /// Whether the store rejects every write.
    is_read_only: bool,
}

impl Access {
    /// Takes the options about access, so that nothing else keeps a token.
    pub(super) fn new(options: &mut ServeOptions, store: &StoreInfo) -> Self {
        let (token, read_token) = (options.token.take(), options.read_token.take());
        let tokens = match options.access_file.take() {
            Some(file) => Current::of_access_file(file),
            None => {
                let tokens = Tokens::simple(token.as_ref(), read_token.as_ref());
                Current::of_tokens(tokens, std::mem::take(&mut options.token_files))
            }
        };
        Self {
            tokens,
            hosts: std::mem::take(&mut options.allowed_hosts),
            origins: Origins::new(std::mem::take(&mut options.allowed_origins)),
            rejected: Mutex::default(),
            is_read_only: store.read_only,
        }
    }

    /// Uses each new content of the files with tokens. Returns if the tokens do not come from files.
    pub(super) async fn follow(&self) {
        self.tokens.follow().await;
    }

    /// Returns the kind of the files with tokens if a changed one is unusable, so that the earlier tokens are accepted.
    pub(super) fn outdated_file(&self) -> Option<ReloadedFile> {
        self.tokens.outdated()
    }

    /// Returns the value that [`finish`](Self::finish) needs to know about a request.
    pub(super) fn begin<B>(&self, request: &Request<B>) -> Option<HeaderValue> {
        self.origins.granted(request.headers())
    }

    /// Adds the headers that decide which web pages may read a response.
    pub(super) fn finish(&self, granted: Option<HeaderValue>, response: &mut Response) {
        host::protect(response);
        self.origins.mark(granted, response.headers_mut());
    }

    /// Checks a request, and adds its [`Caller`] to it. Returns the response if the request is not for a handler.
    pub(super) fn check<B>(&self, request: &mut Request<B>, request_id: &RequestId) -> Option<Response> {
        let tokens = self.tokens.tokens();
        let token = bearer(request.headers()).and_then(|given| tokens.find(given));
        // A page that rebinds its name has no token. If every read needs a token, the page cannot read anything.
        if token.is_none_or(|token| token.has_expired())
            && tokens.anonymous_may(Scope::Metrics)
            && let Err(failure) = host::check(request, &self.hosts)
        {
            return Some(failure.into_response());
        }
        if let Some(preflight) =
            self.origins.preflight(request, !self.is_read_only && !tokens.anonymous_may(Scope::Write))
        {
            return Some(preflight);
        }
        match self.authorise(&tokens, token, request, request_id) {
            Ok(caller) => {
                if let Some(caller) = caller {
                    request.extensions_mut().insert(caller);
                }
                None
            }
            Err(failure) => Some(failure.into_response()),
        }
    }

    /// Returns the caller of a request. Returns `None` if the request needs no token, and has none that allows it.
    fn authorise<B>(
        &self,
        tokens: &Tokens,
        token: Option<&Arc<Token>>,
        request: &Request<B>,
        request_id: &RequestId,
    ) -> Result<Option<Caller>> {
        let needed = match Need::of(request.method(), request.uri().path()) {
            Need::Nothing => return Ok(None),
            Need::AnyToken => None,
            Need::Scope(scope) => Some(scope),
        };
        // No other token and no option about origins would help, so this comes before the checks that name them.
        let is_known = token.is_some() || tokens.anonymous_may(Scope::Write);
        if self.is_read_only && needed == Some(Scope::Write) && is_known {
            return Err(read_only_server().into());
        }
        let is_allowed = |token: &&Arc<Token>| !token.has_expired() && needed.is_none_or(|scope| token.allows(scope));
        if let Some(token) = token.filter(is_allowed) {
            return Ok(Some(Caller::new(Arc::clone(token), request_id.clone())));
        }
        if tokens.anonymous_may(needed.unwrap_or(Scope::Read)) {
            if needed == Some(Scope::Write) {
                origin::check_local(request.headers())?;
            }
            return Ok(None);
        }
        let token = token.ok_or_else(Failure::unauthenticated)?;
        Err(match needed.filter(|_| !token.has_expired()) {
            Some(scope) => {
                self.log_rejected(token, &format!("needs the scope {}", scope.as_str()), request_id);
                Failure::missing_scope(&token.name, scope.as_str())
            }
            None => {
                self.log_rejected(token, "has expired", request_id);
                Failure::expired_token(&token.name)
            }
        })
    }

    fn log_rejected(&self, token: &Token, reason: &str, request_id: &RequestId) {
        // No code panics while it holds this lock, so the lock is never poisoned.
        let mut rejected = self.rejected.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(skipped) = rejected.entry(token.name.clone()).or_default().admit() {
            let request_id = request_id.as_str();
            tracing::warn!(token = token.name, reason, request_id, skipped, "rejected a token");
        }
    }

    /// Returns whether the caller of an earlier request may still read.
    pub(super) fn may_still_read(&self, caller: &Caller) -> bool {
        let tokens = self.tokens.tokens();
        match caller.token() {
            None => tokens.anonymous_may(Scope::Read),
            Some(token) => tokens.still_allow(token, Scope::Read),
        }
    }
}

/// What a request needs.
pub(super) enum Need {
    /// Nothing: the request reveals nothing about streams.
    Nothing,
    /// Any token, whatever its scopes.
    AnyToken,
    Scope(Scope),
}

impl Need {
    /// Returns what a request needs. The path can be a route, in which `{id}` stands for an id.
    pub(super) fn of(method: &Method, path: &str) -> Self {
        if !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
            return Self::Scope(Scope::Write);
        }
        match path {
            // Health checks have no token, the dashboard asks for one, and the description of the API contains no data.
            "/" | "/docs" | "/openapi.json" | "/healthz" | "/readyz" => Self::Nothing,
            path if path.starts_with("/assets/") => Self::Nothing,
            // Every client reads the description of the server first.
            "/api/v1/info" => Self::AnyToken,
            // The metrics of single streams contain their ids, so they need the scope read.
            "/metrics" | "/api/v1/sd" => Self::Scope(Scope::Metrics),
            // Any other path needs a token, even if there is no such path.
            _ => Self::Scope(Scope::Read),
        }
    }
}

/// Returns the bearer token if the request has exactly one `Authorization` header.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next()?.as_bytes();
    let (scheme, token) = value.split_at_checked(7)?;
    (values.next().is_none() && scheme.eq_ignore_ascii_case(b"bearer ")).then(|| token.trim_ascii())
}

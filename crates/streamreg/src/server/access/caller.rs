//! The client that sent a request, as far as the server knows it.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use stream_registry::stream::{InvalidValue, OperationId};

use super::token::TokenHash;
use super::tokens::Token;
use crate::server::request_id::RequestId;

/// The client that sent a request, known by the token of the request. Without a token if the request needed no token.
#[derive(Clone, Debug, Default)]
pub(in crate::server) struct Caller(Option<Known>);

/// A token, and the request that it came with.
#[derive(Clone, Debug)]
struct Known {
    token: Arc<Token>,
    request_id: RequestId,
}

impl Caller {
    pub(super) fn new(token: Arc<Token>, request_id: RequestId) -> Self {
        Self(Some(Known { token, request_id }))
    }

    pub(super) fn token(&self) -> Option<&Token> {
        self.0.as_ref().map(|known| &*known.token)
    }

    /// Returns the id of the request if the caller has a token.
    pub(super) fn request_id(&self) -> Option<&str> {
        self.0.as_ref().map(|known| known.request_id.as_str())
    }

    /// Returns the operation that a key of this caller stands for. Otherwise, a client could guess the key of another
    /// one, and would get the answer with the record and its epoch.
    pub(in crate::server) fn operation(&self, key: &OperationId) -> Result<OperationId, InvalidValue> {
        match self.token() {
            None => Ok(key.clone()),
            Some(token) => TokenHash::of(format!("{} {}", token.name, key.as_str()).as_bytes()).to_string().parse(),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.remove::<Self>().unwrap_or_default())
    }
}

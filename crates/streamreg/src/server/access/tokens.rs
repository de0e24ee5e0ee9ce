//! The tokens that a server accepts, and the rights of each.

use std::collections::BTreeMap;
use std::sync::Arc;

use stream_registry::{Secret, Timestamp};

use super::pattern::Pattern;
use super::scope::{Scope, allow};
use super::token::TokenHash;

/// A token that the server accepts. The server knows only its hash.
#[derive(Debug, PartialEq)]
pub(super) struct Token {
    /// Name of the token in logs.
    pub(super) name: String,
    pub(super) hash: TokenHash,
    pub(super) scopes: Vec<Scope>,
    /// Patterns for the ids of the streams that the token may write. If empty, all ids are allowed.
    pub(super) ids: Vec<Pattern>,
    /// Patterns for the nodes of the streams that the token may write. If empty, all nodes are allowed.
    pub(super) nodes: Vec<Pattern>,
    pub(super) expires: Option<Timestamp>,
}

impl Token {
    /// Returns a token that never expires and is not limited to some streams.
    fn unlimited(name: &str, token: &Secret, scope: Scope) -> Self {
        Self {
            name: name.to_owned(),
            hash: TokenHash::of(token.reveal().as_bytes()),
            scopes: vec![scope],
            ids: Vec::new(),
            nodes: Vec::new(),
            expires: None,
        }
    }

    /// Checks that patterns have an effect.
    pub(super) fn check(&self) -> Result<(), String> {
        let has_patterns = !self.ids.is_empty() || !self.nodes.is_empty();
        if has_patterns && !self.allows(Scope::Write) {
            return Err("ids and nodes limit writes; add the scope write, or omit them".to_owned());
        }
        Ok(())
    }

    pub(super) fn allows(&self, needed: Scope) -> bool {
        allow(&self.scopes, needed)
    }

    pub(super) fn has_expired(&self) -> bool {
        self.expires.is_some_and(|expires| expires <= Timestamp::now())
    }
}

/// All tokens that a server accepts.
///
/// A token is found by its hash. The time of a look-up reveals at most the beginning of a stored hash. This helps no
/// attacker, because the server accepts only the token itself.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Tokens {
    by_hash: BTreeMap<TokenHash, Arc<Token>>,
    /// What requests without a token may do.
    anonymous: Vec<Scope>,
}

impl Tokens {
    /// Returns an empty set with the scopes of requests that have no token.
    pub(super) fn with_anonymous(anonymous: Vec<Scope>) -> Self {
        Self { by_hash: BTreeMap::new(), anonymous }
    }

    /// Returns the tokens of the options `--token-file` and `--read-token-file`. A token for writes may do everything.
    /// Whatever needs no token is open to all requests.
    pub(super) fn simple(write: Option<&Secret>, read: Option<&Secret>) -> Self {
        let mut tokens = Self::with_anonymous(match (write, read) {
            (None, None) => vec![Scope::Admin],
            (Some(_), None) => vec![Scope::Read],
            // Without a token for writes, the store is read-only.
            (_, Some(_)) => Vec::new(),
        });
        // If both tokens are the same, the one for writes counts, because it is added later.
        for (token, name, scope) in [(read, "read-token-file", Scope::Read), (write, "token-file", Scope::Admin)] {
            if let Some(token) = token {
                tokens.insert(Token::unlimited(name, token, scope));
            }
        }
        tokens
    }

    /// Adds a token, and returns the earlier token with the same hash.
    pub(super) fn insert(&mut self, token: Token) -> Option<Arc<Token>> {
        self.by_hash.insert(token.hash, Arc::new(token))
    }

    /// Returns the token with the given value, even if it has expired.
    pub(super) fn find(&self, given: &[u8]) -> Option<&Arc<Token>> {
        self.by_hash.get(&TokenHash::of(given))
    }

    /// Returns whether requests without a token may do what `needed` allows.
    pub(super) fn anonymous_may(&self, needed: Scope) -> bool {
        allow(&self.anonymous, needed)
    }

    /// Returns whether a token that was found earlier is still accepted for what `needed` allows.
    pub(super) fn still_allow(&self, token: &Token, needed: Scope) -> bool {
        self.by_hash.get(&token.hash).is_some_and(|current| current.allows(needed) && !current.has_expired())
    }
}

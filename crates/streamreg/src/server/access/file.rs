//! The access file: named tokens with their rights.

use std::collections::HashSet;

use serde::Deserialize;
use stream_registry::Timestamp;

use super::pattern::Pattern;
use super::scope::Scope;
use super::token::PREFIX;
use super::tokens::{Token, Tokens};

/// Maximum length of a word in a message of the parser. Its own words and the keys of the file are shorter, and tokens
/// are longer.
const LONGEST_WORD: usize = 15;

/// Maximum length of a token's name in bytes.
const MAX_NAME: usize = 64;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    anonymous: Vec<String>,
    /// `None` if the file does not mention tokens, which is a mistake. An empty list is a decision.
    #[serde(rename = "token")]
    tokens: Option<Vec<Entry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    scopes: Vec<String>,
    ids: Option<Vec<String>>,
    nodes: Option<Vec<String>>,
    /// A string, or a date and time of TOML.
    expires: Option<toml::Value>,
    hash: String,
}

/// Parses the content of an access file.
///
/// # Errors
///
/// Returns a message that names the line or the token at fault. The message contains no hash, and no value that could
/// be a token by mistake.
pub(super) fn parse(content: &str) -> Result<Tokens, String> {
    let file: File = toml::from_str(content).map_err(|error| syntax_error(content, &error))?;
    let anonymous = scopes(&file.anonymous).map_err(|reason| format!("anonymous: {reason}"))?;
    if anonymous.iter().any(|scope| !matches!(scope, Scope::Read | Scope::Metrics)) {
        return Err("anonymous: requests without a token can have the scopes read and metrics only".to_owned());
    }
    let entries = file.tokens.ok_or(
        "no tokens; add the lines that `streamreg token new` prints, or write token = [] to accept no token at all",
    )?;
    let mut names = HashSet::new();
    let mut tokens = Tokens::with_anonymous(anonymous);
    for (at, entry) in entries.iter().enumerate() {
        check_name(&entry.name).map_err(|reason| format!("token {}: {reason}", at + 1))?;
        let of_token = |reason: String| format!("token {}: {reason}", entry.name);
        if !names.insert(&entry.name) {
            return Err(of_token("duplicate name; rename one of the tokens".to_owned()));
        }
        let token = entry.read().map_err(of_token)?;
        if tokens.insert(token).is_some() {
            return Err(of_token("duplicate hash; create another token with `streamreg token new`".to_owned()));
        }
    }
    Ok(tokens)
}

/// Describes an error of the TOML parser without the line of the file, which the parser's own description repeats.
fn syntax_error(content: &str, error: &toml::de::Error) -> String {
    let before = error.span().and_then(|span| content.get(..span.start)).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    // The parser repeats names and values, and one of them can be a token that was pasted into the wrong place.
    let is_token = |word: &str| word.len() > LONGEST_WORD || word.contains(PREFIX);
    let mut words = error.message().split(|c: char| !c.is_ascii_alphanumeric() && !"-_".contains(c));
    let message = if words.any(is_token) { "misplaced token" } else { error.message() };
    format!("line {line}: {}; correct the access file", message.replace('\n', " "))
}

/// Checks a name of a token.
///
/// # Errors
///
/// Returns a message if the name contains other characters than letters, digits and `.`, `_`, `-`, or is too long.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(is_valid) {
        return Err(format!("invalid name; expected up to {MAX_NAME} letters, digits, '.', '_' and '-'"));
    }
    Ok(())
}

fn scopes(names: &[String]) -> Result<Vec<Scope>, String> {
    names.iter().map(|name| name.parse()).collect()
}

impl Entry {
    fn read(&self) -> Result<Token, String> {
        let scopes = scopes(&self.scopes).map_err(|reason| format!("scopes: {reason}"))?;
        if scopes.is_empty() {
            return Err("scopes is empty; list at least one scope, or remove the token".to_owned());
        }
        let token = Token {
            name: self.name.clone(),
            hash: self.hash.parse()?,
            ids: patterns("ids", self.ids.as_deref())?,
            nodes: patterns("nodes", self.nodes.as_deref())?,
            expires: self.expires.as_ref().map(expiry).transpose()?,
            scopes,
        };
        token.check()?;
        Ok(token)
    }
}

/// Parses patterns. An empty list would match nothing, so it is rejected.
fn patterns(key: &str, given: Option<&[String]>) -> Result<Vec<Pattern>, String> {
    match given {
        None => Ok(Vec::new()),
        Some([]) => Err(format!("{key} is empty; list at least one pattern, or omit {key}")),
        Some(given) => {
            let patterns: Result<_, String> = given.iter().map(|pattern| Pattern::parse(pattern)).collect();
            patterns.map_err(|reason| format!("{key}: {reason}"))
        }
    }
}

fn expiry(value: &toml::Value) -> Result<Timestamp, String> {
    let text = match value {
        toml::Value::Datetime(time) => Some(time.to_string()),
        toml::Value::String(text) => Some(text.clone()),
        _ => None,
    };
    let expiry = text.and_then(|text| text.parse().ok());
    expiry.ok_or_else(|| "expires: expected an RFC 3339 timestamp such as 2027-11-22T14:08:10Z".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    /// Returns a file with one token, and with `more` lines in the token.
    fn token(more: &str) -> String {
        format!("[[token]]\nname = \"a\"\nhash = \"{HASH}\"\n{more}\n")
    }

    #[test]
    fn complete_file_is_accepted() {
        let second = HASH.replace("ba78", "ba79");
        let all =
            "scopes = [\"read\", \"write\"]\nids = [\"cam-*\"]\nnodes = [\"n1\"]\nexpires = 2027-01-01T00:00:00+01:00";
        let content = format!(
            "# comment\nanonymous = [\"read\"]\n{}[[token]]\nname = \"b\"\nscopes = [\"admin\"]\nhash = \"{second}\"\nexpires = \"2027-01-01T00:00:00Z\"\n",
            token(all)
        );
        let tokens = parse(&content).unwrap();
        let first = tokens.find(b"abc").unwrap();
        assert_eq!((first.name.as_str(), first.scopes.as_slice()), ("a", &[Scope::Read, Scope::Write][..]));
        assert_eq!(first.expires, Some("2026-12-31T23:00:00Z".parse().unwrap()));
        assert!(tokens.find(b"abd").is_none());
    }

    #[test]
    fn file_with_an_empty_list_of_tokens_accepts_no_token() {
        let tokens = parse("token = []").unwrap();
        assert!(tokens.find(b"abc").is_none() && tokens.find(b"").is_none());
        assert!(!tokens.anonymous_may(Scope::Metrics));
    }

    #[test]
    fn invalid_file_is_rejected_with_a_remedy() {
        let read = "scopes = [\"read\"]";
        for (content, expected) in [
            (String::new(), "no tokens; add"),
            (format!("token = []\n{}", token(read)), "line 2: "),
            ("anonymous = [\"read\"]".to_owned(), "no tokens; add"),
            (format!("anonymous = [\"write\"]\n{}", token(read)), "anonymous: requests without a token"),
            ("[[token]".to_owned(), "line 1: "),
            (token("scope = [\"read\"]"), "line 4: unknown field `scope`, expected one of `name`, `scopes`"),
            (format!("tokens = 5\n{}", token(read)), "line 1: unknown field `tokens`"),
            (token(""), "missing field `scopes`"),
            (token("scopes = []"), "token a: scopes is empty; list"),
            (token("scopes = [\"raed\"]"), "token a: scopes: unknown scope; expected read, write, metrics, admin"),
            (token("scopes = [\"read\"]\nids = [\"x\"]"), "token a: ids and nodes limit writes; add the scope"),
            (token("scopes = [\"write\"]\nids = []"), "token a: ids is empty; list"),
            (token("scopes = [\"write\"]\nnodes = [\"\"]"), "token a: nodes: invalid pattern; expected"),
            (token("scopes = [\"read\"]\nexpires = \"tomorrow\""), "token a: expires: expected an RFC 3339"),
            (token("scopes = [\"read\"]\nexpires = 2027-01-01"), "token a: expires: expected an RFC 3339"),
            (token("scopes = [\"read\"]\nexpires = 5"), "token a: expires: expected an RFC 3339"),
            (token(read).replace("sha256:", ""), "token a: invalid hash; expected sha256:"),
            (token(read).replace("\"a\"", "\"a b\""), "token 1: invalid name; expected"),
            (token(read).repeat(2), "token a: duplicate name; rename"),
            (token(read) + &token(read).replace("\"a\"", "\"b\""), "token b: duplicate hash; create"),
        ] {
            let message = parse(&content).unwrap_err();
            assert!(message.contains(expected), "{content}: {message}");
            assert!(!message.contains("ba7816bf"), "{message}");
        }
    }

    #[test]
    fn token_in_the_wrong_place_is_not_repeated_in_the_message() {
        let read = token("scopes = [\"read\"]");
        // A token for `--token-file` can be any text.
        let hex = "3f9a0c51d27b8e643f9a0c51d27b8e64";
        for secret in ["srg_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA0000000", hex, "b9/2Zm9vYmFyYmF6cXV4cXV1eA=="] {
            for content in [
                read.replace(HASH, secret),
                read.replace("\"read\"", &format!("\"{secret}\"")),
                read.replace("\"a\"", &format!("\"{secret}!\"")),
                format!("{read}{secret}"),
                format!("{read}token = {secret}"),
                read.replace("\"read\"", secret),
                format!("{read}expires = \"{secret}\""),
                format!("{read}ids = \"{secret}\""),
                format!("{read}{secret} = 1"),
                format!("{read}\"{secret}\" = 1"),
            ] {
                let message = parse(&content).unwrap_err();
                assert!(!message.contains(&secret[..12]), "{message}");
            }
        }
    }

    /// A file can be read while a program appends a token.
    #[test]
    fn incomplete_token_is_invalid_if_its_hash_comes_last() {
        let read = token("scopes = [\"read\"]");
        let lines = format!(
            "\n[[token]]\nname = \"b\"\nscopes = [\"write\"]\nids = [\"cam-*\"]\nhash = \"{}\"",
            HASH.replace("ba78", "ba79")
        );
        for end in 1..lines.len() {
            let Ok(tokens) = parse(&format!("{read}{}", &lines[..end])) else { continue };
            assert!(lines[..end].trim().is_empty(), "{}", &lines[..end]);
            assert!(tokens.find(b"abc").is_some());
        }
        assert!(parse(&format!("{read}{lines}")).is_ok());
    }
}

//! Patterns for ids and nodes.

/// Maximum length of a pattern in bytes. Ids and nodes can be no longer.
const MAX_LENGTH: usize = 1_024;

/// A pattern in which `*` stands for any characters, including none. Any other character stands for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern(String);

impl Pattern {
    /// Checks a pattern.
    ///
    /// # Errors
    ///
    /// Returns a message if the pattern is empty, too long, or contains control characters.
    pub(crate) fn parse(pattern: &str) -> Result<Self, String> {
        if pattern.is_empty() || pattern.len() > MAX_LENGTH || pattern.contains(char::is_control) {
            return Err(format!(
                "invalid pattern; expected 1 to {MAX_LENGTH} bytes without control characters, e.g. cam-*"
            ));
        }
        Ok(Self(pattern.to_owned()))
    }

    /// Returns whether the pattern matches a whole string.
    pub(super) fn matches(&self, text: &str) -> bool {
        let mut parts = self.0.split('*');
        let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
        let Some(last) = parts.next_back() else { return rest.is_empty() };
        for part in parts {
            // The first occurrence leaves the most characters for the parts that follow.
            match rest.split_once(part) {
                Some((_, after)) => rest = after,
                None => return false,
            }
        }
        rest.ends_with(last)
    }

    /// Returns the pattern as a string.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pattern_matches_whole_strings_only() {
        for (pattern, matching, others) in [
            ("cam-1", &["cam-1"][..], &["cam-11", "xcam-1", "cam-", "", "CAM-1"][..]),
            ("cam-*", &["cam-", "cam-1", "cam-a/b", "cam-*"], &["cam", "xcam-1"]),
            ("*-1", &["-1", "cam-1"], &["cam-12", "1"]),
            ("*", &["", "x", "a/b"], &[]),
            ("a*b*c", &["abc", "axbxc", "abbc", "abcbc"], &["ac", "acb", "abcd"]),
            ("aa*aa", &["aaaa", "aaxaa"], &["aaa", "aa"]),
            ("a**b", &["ab", "axb"], &["a", "b"]),
            ("é*ß", &["éß", "é中ß"], &["é", "e*ß"]),
            ("a.?[b]", &["a.?[b]"], &["axyb", "a.x[b]"]),
        ] {
            let pattern = Pattern::parse(pattern).unwrap();
            for text in matching {
                assert!(pattern.matches(text), "{pattern:?} {text}");
            }
            for text in others {
                assert!(!pattern.matches(text), "{pattern:?} {text}");
            }
        }
    }

    #[test]
    fn empty_or_unprintable_pattern_is_rejected() {
        for invalid in ["", "a\n", "\u{7f}", &"x".repeat(MAX_LENGTH + 1)] {
            assert!(Pattern::parse(invalid).is_err(), "{invalid:?}");
        }
    }
}

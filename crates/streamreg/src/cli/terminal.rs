//! Makes untrusted strings safe for a terminal: escapes control characters and measures widths.

use std::borrow::Cow;
use std::fmt::Write as _;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Maximum number of combining marks in a row. More of them would cover the lines above and below.
const MAX_MARKS: usize = 4;

/// Returns whether a character could move the cursor, or hide or reorder text.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// Returns a function that decides about the characters of a string, in their order, whether to escape them.
fn must_escape() -> impl FnMut(char) -> bool {
    let mut marks = 0;
    move |c| {
        marks = if c.width() == Some(0) { marks + 1 } else { 0 };
        is_unsafe(c) || marks > MAX_MARKS
    }
}

/// Escapes control characters, which start escape sequences, characters that change the text direction, and long
/// runs of combining marks.
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(must_escape()) {
        return Cow::Borrowed(text);
    }
    let mut must_escape = must_escape();
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        let is_escaped = must_escape(c);
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if is_escaped => {
                // Writing to a string cannot fail.
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// Escapes the same characters as [`escape`] in a JSON document, without changing the document's meaning.
///
/// A JSON string may contain DEL and U+0080 to U+009F unescaped. Some terminals interpret U+0080 to U+009F as the start
/// of an escape sequence.
pub fn escape_json(json: &str) -> Cow<'_, str> {
    if !json.contains(is_unsafe) {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        // Keep characters below U+0020: JSON allows them only as white space between tokens, for example in an unknown
        // field.
        if !is_unsafe(c) || c < ' ' {
            out.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            let _ = write!(out, "\\u{unit:04x}");
        }
    }
    Cow::Owned(out)
}

/// Returns the number of terminal columns that a string occupies.
pub fn width(text: &str) -> usize {
    UnicodeWidthStr::width(text)
}

/// Shortens a string to at most `max` columns. A final `…` shows that something was cut.
pub fn shorten(text: &str, max: usize) -> Cow<'_, str> {
    if width(text) <= max {
        return Cow::Borrowed(text);
    }
    let ends = text.char_indices().map(|(at, _)| at);
    let end = ends.take_while(|at| width(&text[..*at]) < max).last().unwrap_or(0);
    Cow::Owned(text[..end].trim_end_matches('\u{200d}').to_owned() + "…")
}

/// Breaks a string into lines of at most `max` columns, at a space in the second half of a line if there is one. An empty
/// string is one line. A character that is wider than a line is replaced.
pub fn wrap(text: &str, max: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for c in text.chars() {
        let columns = c.width().unwrap_or_default();
        let (c, columns) = if columns > max { ('…', max.min(1)) } else { (c, columns) };
        if used + columns > max {
            if c == ' ' {
                lines.push(String::new());
                used = 0;
                continue;
            }
            let rest = lines.last_mut().and_then(|line| {
                let space = line.rfind(' ').filter(|space| width(&line[*space..]) <= max / 2)?;
                let rest = line.split_off(space + 1);
                line.truncate(space);
                Some(rest)
            });
            let rest = rest.unwrap_or_default();
            used = width(&rest);
            lines.push(rest);
        }
        used += columns;
        if let Some(line) = lines.last_mut() {
            line.push(c);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_spells_out_control_and_direction_characters() {
        for (hostile, shown) in [
            ("a\u{1b}[2Jb", "a\\u{1b}[2Jb"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("a\r\nb\tc", "a\\r\\nb\\tc"),
            ("\u{202e}gpj.exe", "\\u{202e}gpj.exe"),
            ("\u{7f}\0", "\\u{7f}\\u{0}"),
            (
                "e\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}a\u{301}",
                "e\u{301}\u{301}\u{301}\u{301}\\u{301}\\u{301}a\u{301}",
            ),
        ] {
            assert_eq!(escape(hostile), shown);
        }
        assert!(matches!(escape("Zürich 📺 東京"), Cow::Borrowed(_)));
    }

    #[test]
    fn escaping_json_does_not_change_its_meaning() {
        let json = "{\"a\":\"\u{9b}2J\u{7f}\u{202e}é\", \n\"b\":1}";
        let shown = escape_json(json);
        assert_eq!(shown, "{\"a\":\"\\u009b2J\\u007f\\u202eé\", \n\"b\":1}");
        let (a, b): (serde_json::Value, serde_json::Value) =
            (serde_json::from_str(json).unwrap(), serde_json::from_str(&shown).unwrap());
        assert_eq!(a, b);
    }

    #[test]
    fn width_and_shorten_count_terminal_columns() {
        for (text, columns) in
            [("cam1", 4), ("東京", 4), ("e\u{301}", 1), ("📺", 2), ("⚡", 2), ("⭐", 2), ("👩‍🚀", 2), ("", 0), ("Ünï", 3)]
        {
            assert_eq!(width(text), columns, "{text}");
        }
        assert_eq!(shorten("abcdef", 6), "abcdef");
        assert_eq!(shorten("abcdef", 5), "abcd…");
        assert_eq!(shorten("東京大阪", 6), "東京…");
    }

    #[test]
    fn wrap_breaks_lines_between_characters_and_keeps_combining_marks() {
        for (text, max, lines) in [
            ("", 3, &[""][..]),
            ("abcdef", 3, &["abc", "def"]),
            ("abcd", 3, &["abc", "d"]),
            ("a東京", 3, &["a東", "京"]),
            ("abe\u{301}d", 3, &["abe\u{301}", "d"]),
            ("東a", 1, &["…", "a"]),
            ("abc def gh", 8, &["abc def", "gh"]),
            ("abc  東京 x", 8, &["abc ", "東京 x"]),
            ("ab cd efg", 5, &["ab cd", "efg"]),
            ("a bcdefghijkl", 8, &["a bcdefg", "hijkl"]),
            ("    ", 2, &["  ", " "]),
        ] {
            assert_eq!(wrap(text, max), lines, "{text} in {max}");
        }
    }
}

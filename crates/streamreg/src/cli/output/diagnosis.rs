//! The findings of a diagnosis, for people.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use stream_registry::redis::{Diagnosis, Severity};

use super::style::Style;
use crate::cli::terminal;

/// Width of the column of severities.
const SEVERITY_WIDTH: usize = "unchecked".len();
/// Column in which messages begin.
const INDENT: usize = 2 + SEVERITY_WIDTH + 2;

/// Formats a diagnosis: the findings by topic, each with its remedy, and then their numbers. Lines are wrapped at
/// `width` columns.
pub(super) fn text(diagnosis: &Diagnosis, width: Option<usize>, colour: bool) -> String {
    let mut text = String::new();
    let mut topic = "";
    let servers: BTreeSet<_> = diagnosis.findings.iter().filter_map(|finding| finding.server.as_deref()).collect();
    for finding in &diagnosis.findings {
        if finding.code.topic() != topic {
            topic = finding.code.topic();
            text.push_str(topic);
            text.push('\n');
        }
        let style = if colour { style(finding.severity) } else { Style::Plain };
        let padding = " ".repeat(SEVERITY_WIDTH - finding.severity.as_str().len());
        // With one server, its address is not repeated.
        let place = finding.server.as_deref().filter(|_| servers.len() > 1);
        let place = place.map_or_else(String::new, |server| format!("{server}: "));
        let message = terminal::escape(&format!("{place}{}", finding.message)).into_owned();
        let severity = style.paint(finding.severity.as_str());
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {severity}{padding}  {}", wrap(&message, width));
        if let Some(remedy) = &finding.remedy {
            let remedy = wrap(&format!("→ {}", terminal::escape(remedy)), width);
            let _ = writeln!(text, "{}{remedy}", " ".repeat(INDENT));
        }
    }
    text.push_str(&numbers(diagnosis));
    text
}

fn style(severity: Severity) -> Style {
    match severity {
        Severity::Ok => Style::Green,
        Severity::Warning => Style::Yellow,
        Severity::Error => Style::Red,
        _ => Style::Dim,
    }
}

fn numbers(diagnosis: &Diagnosis) -> String {
    let count = |severity, one: &str, many: &str| match diagnosis.of(severity).count() {
        1 => format!("1 {one}"),
        count => format!("{count} {many}"),
    };
    let errors = count(Severity::Error, "error", "errors");
    let warnings = count(Severity::Warning, "warning", "warnings");
    let unchecked = count(Severity::Unchecked, "part not checked", "parts not checked");
    format!("{errors}, {warnings}, {unchecked}\n")
}

/// Breaks a string between words, so that it fits into the column after the severities.
fn wrap(text: &str, width: Option<usize>) -> String {
    let Some(room) = width.map(|width| width.saturating_sub(INDENT).max(20)) else { return text.to_owned() };
    let mut wrapped = String::with_capacity(text.len());
    let mut used = 0;
    for word in text.split(' ') {
        let needed = terminal::width(word);
        if used > 0 && used + 1 + needed > room {
            wrapped.push('\n');
            wrapped.push_str(&" ".repeat(INDENT));
            used = 0;
        } else if used > 0 {
            wrapped.push(' ');
            used += 1;
        }
        wrapped.push_str(word);
        used += needed;
    }
    wrapped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_messages_are_wrapped_in_the_column_after_the_severities() {
        assert_eq!(wrap("a b", None), "a b");
        let wrapped = wrap("one two three four five six", Some(INDENT + 20));
        assert_eq!(wrapped, format!("one two three four\n{}five six", " ".repeat(INDENT)));
        assert_eq!(wrap("wider_than_the_whole_room a", Some(10)).lines().count(), 2);
    }
}

//! Colours of cells, and the decision whether to use colours.

use std::ffi::OsString;

use stream_registry::StreamStatus;

/// When tables have colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Colour {
    /// On a terminal, unless the variable `NO_COLOR` is set.
    #[default]
    Auto,
    /// Always, in pipes too.
    Always,
    /// Without colours.
    Never,
}

/// The colour of a cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::cli) enum Style {
    /// The terminal's default colour.
    #[default]
    Plain,
    Green,
    Yellow,
    Red,
    Dim,
}

impl Style {
    /// Returns the colour of a status. A status that this version does not know has no colour.
    pub(in crate::cli) fn of(status: &StreamStatus) -> Self {
        match status {
            StreamStatus::Active => Self::Green,
            StreamStatus::Connecting | StreamStatus::Paused => Self::Yellow,
            StreamStatus::Error => Self::Red,
            StreamStatus::Closed => Self::Dim,
            _ => Self::Plain,
        }
    }

    /// Adds the escape sequences of the colour (ECMA-48, SGR) to a string.
    pub(super) fn paint(self, text: &str) -> String {
        let code = match self {
            Self::Plain => return text.to_owned(),
            Self::Green => "32",
            Self::Yellow => "33",
            Self::Red => "31",
            Self::Dim => "2",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

/// Returns whether tables have colours. With `Auto`, they have colours on a terminal, except if `TERM` is `dumb`.
/// `NO_COLOR` (no-color.org) then switches colours off, and `CLICOLOR_FORCE` (bixense.com/clicolors) switches them on
/// in pipes too.
pub(in crate::cli) fn enabled(when: Colour, terminal: bool, variable: impl Fn(&str) -> Option<OsString>) -> bool {
    match when {
        Colour::Always => return true,
        Colour::Never => return false,
        Colour::Auto => {}
    }
    let set = |name| variable(name).filter(|value| !value.is_empty());
    if set("NO_COLOR").is_some() {
        return false;
    }
    set("CLICOLOR_FORCE").is_some_and(|value| value != "0") || terminal && set("TERM").is_none_or(|term| term != "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_follow_the_terminal_and_the_variables() {
        for (terminal, variables, expected) in [
            (true, &[][..], true),
            (false, &[], false),
            (true, &[("TERM", "dumb")], false),
            (true, &[("NO_COLOR", "1")], false),
            (true, &[("NO_COLOR", "")], true),
            (false, &[("CLICOLOR_FORCE", "1")], true),
            (false, &[("CLICOLOR_FORCE", "0")], false),
            (true, &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], false),
        ] {
            let get = |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into());
            assert_eq!(enabled(Colour::Auto, terminal, get), expected, "{terminal} {variables:?}");
            assert!(enabled(Colour::Always, terminal, get) && !enabled(Colour::Never, terminal, get));
        }
    }

    #[test]
    fn each_known_status_has_its_colour() {
        for (status, painted) in [
            (StreamStatus::Active, "\u{1b}[32mx\u{1b}[0m"),
            (StreamStatus::Connecting, "\u{1b}[33mx\u{1b}[0m"),
            (StreamStatus::Paused, "\u{1b}[33mx\u{1b}[0m"),
            (StreamStatus::Error, "\u{1b}[31mx\u{1b}[0m"),
            (StreamStatus::Closed, "\u{1b}[2mx\u{1b}[0m"),
            ("draining".parse().unwrap(), "x"),
        ] {
            assert_eq!(Style::of(&status).paint("x"), painted, "{status}");
        }
    }
}

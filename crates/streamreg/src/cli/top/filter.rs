//! The line behind `/`: the filters of `list`, as words.

use stream_registry::query::Filter;

use crate::cli::spelling;

/// Parses the filters of a line. Each word is a filter such as `status=error`, an option of `list` such as
/// `--node ingest-1` or `-l tenant=acme`, or a part of the string to search for. Quotes keep spaces in a word.
/// A word with `=` is always a filter, because a misspelt filter must not become a search that finds nothing.
///
/// # Errors
///
/// Returns a message for people if a quote is not closed, or if a filter is invalid.
pub(super) fn parse(line: &str) -> Result<Filter, String> {
    let mut filter = Filter::default();
    let mut search = Vec::new();
    let mut words = split(line)?.into_iter();
    while let Some(word) = words.next() {
        let mut value_of = |name: &str| words.next().ok_or_else(|| format!("{word} needs a value, e.g. {name}=…"));
        let condition = match (word.strip_prefix("--"), word.split_once('=')) {
            (Some(option), _) => Some(match option.split_once('=') {
                Some((name, value)) => (name.to_owned(), value.to_owned()),
                None => (option.to_owned(), value_of(option)?),
            }),
            (None, _) if word == "-l" => Some(("label".to_owned(), value_of("label")?)),
            (None, _) if word.starts_with('-') => {
                return Err(format!("unknown option {word}; to search for it, write search={word}"));
            }
            (None, Some((name, value))) => Some((name.to_owned(), value.to_owned())),
            (None, _) => None,
        };
        match condition {
            Some((name, value)) if !Filter::NAMES.contains(&&*name) => {
                let unknown = spelling::unknown_key(&name, &Filter::NAMES);
                return Err(format!("{unknown}; for a label, write label={name}={value}"));
            }
            Some((name, value)) => filter.set(&name, &value).map_err(|error| error.message().to_owned())?,
            None => search.push(word),
        }
    }
    if !search.is_empty() {
        search.splice(0..0, filter.search.take());
        filter.set("search", &search.join(" ")).map_err(|error| error.message().to_owned())?;
    }
    Ok(filter)
}

/// Returns a line from which [`parse`] makes the filter again.
pub(super) fn format(filter: &Filter) -> String {
    let words: Vec<_> = filter
        .pairs()
        .into_iter()
        .map(|(name, value)| {
            let needs_quotes = value.is_empty() || value.contains([' ', '"', '\'']);
            // A quotation mark is quoted by apostrophes, as in a shell.
            let value = if needs_quotes { format!("\"{}\"", value.replace('"', "\"'\"'\"")) } else { value };
            format!("{name}={value}")
        })
        .collect();
    words.join(" ")
}

/// Splits a line into words at spaces, except inside quotes.
fn split(line: &str) -> Result<Vec<String>, String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if let Some(open) = quote {
        return Err(format!("missing closing {open}"));
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use stream_registry::{StreamStatus, StreamType};

    use super::*;

    #[test]
    fn line_accepts_the_options_of_list_and_short_forms() {
        let all = Filter::default()
            .status(StreamStatus::Error)
            .kind(StreamType::Srt)
            .node("ingest-1")
            .label("tenant", "acme")
            .search("stage A");
        for line in [
            "--status error --type=srt --node ingest-1 -l tenant=acme --search 'stage A'",
            "status=error type=srt node=ingest-1 label=tenant=acme stage A",
            "  stage   status=error type=srt \"node\"=ingest-1 label=tenant=acme A ",
        ] {
            assert_eq!(parse(line).as_ref(), Ok(&all), "{line}");
        }
        assert_eq!(parse("  "), Ok(Filter::default()));
        assert_eq!(parse("node=\"\""), Ok(Filter::default().node("")));
        assert_eq!(parse("search=a=b"), Ok(Filter::default().search("a=b")));
    }

    #[test]
    fn invalid_line_is_rejected_with_a_message() {
        for (line, message) in [
            ("'a", "missing closing '"),
            ("--status", "--status needs a value"),
            ("-l", "-l needs a value"),
            ("-", "unknown option -"),
            ("label=x", "invalid label"),
            (
                "tenant=acme",
                "unknown key \"tenant\"; the keys are status, type, node, label, search; for a label, write label=tenant=acme",
            ),
            ("--nod n1", "unknown key \"nod\"; did you mean \"node\"? The keys are status, "),
            ("=", "unknown key \"\"; the keys are"),
            ("status=", ""),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.starts_with(message), "{line}: {error}");
        }
    }

    #[test]
    fn formatted_filter_is_parsed_to_the_same_filter() {
        for filter in [
            Filter::default(),
            Filter::default().node("").label("a b", "c\"d'e").search("--status error"),
            Filter::default().status(StreamStatus::Active).search("a  b = \"c\" 'd'"),
        ] {
            assert_eq!(parse(&format(&filter)).as_ref(), Ok(&filter), "{}", format(&filter));
        }
    }
}

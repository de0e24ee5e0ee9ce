//! What commands write, and how.

mod counts;
mod events;
mod fields;
mod table;
pub mod text;
mod units;

use std::fmt::Display;
use std::io::Write;

use stream_registry::watch::Event;
use stream_registry::{Error, Stream, Timestamp};

use super::failure::{Failure, Result, Status};
use stream_registry::query::{Group, Summary};

/// How records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Aligned columns for people.
    Table,
    /// One JSON document.
    Json,
    /// One record a line, as JSON.
    Jsonl,
}

/// Where a command writes to, and what it needs to know to word its messages.
pub struct Output<'a> {
    /// Standard output.
    pub stdout: &'a mut dyn Write,
    /// Standard error.
    pub stderr: &'a mut dyn Write,
    /// The format that was asked for; `None`: a table on a terminal, else JSON lines.
    pub format: Option<Format>,
    /// Whether standard output is a terminal.
    pub terminal: bool,
    /// The columns of that terminal; `None`: as many as a table needs.
    pub width: Option<usize>,
    /// The store's name without secrets.
    pub store: &'a str,
}

impl Output<'_> {
    /// Returns the format of records.
    pub fn format(&self) -> Format {
        self.format.unwrap_or(if self.terminal { Format::Table } else { Format::Jsonl })
    }

    /// Writes a line to standard output.
    ///
    /// # Errors
    ///
    /// Where standard output takes no more.
    pub fn line(&mut self, line: impl Display) -> Result {
        writeln!(self.stdout, "{line}").map_err(|error| Failure::output(&error))
    }

    /// Tells something on standard error.
    pub fn note(&mut self, note: impl Display) {
        // Nobody is there to be told where standard error is gone.
        let _ = writeln!(self.stderr, "{}", text::escape(&note.to_string()));
    }

    /// Tells a failure on standard error, and returns its status.
    pub fn tell(&mut self, failure: &Failure) -> Status {
        if let Some(message) = &failure.message {
            let _ = writeln!(self.stderr, "streamreg: {message}");
        }
        failure.status
    }

    /// Words a failed call.
    pub fn failure(&self, error: &Error) -> Failure {
        Failure::store(error, self.store)
    }

    /// Writes records: a table, an array, or one a line.
    ///
    /// # Errors
    ///
    /// Where standard output takes no more.
    pub fn streams(&mut self, streams: &[Stream]) -> Result {
        match self.format() {
            Format::Table if streams.is_empty() => Ok(()),
            Format::Table => {
                let (table, left_out) = table::streams(streams, Timestamp::now(), self.width);
                self.write(&table)?;
                self.flush()?;
                if !left_out.is_empty() {
                    let names = left_out.join(", ");
                    self.note(format_args!("no room for {names}; widen the terminal, or see `streamreg get ID`"));
                }
                Ok(())
            }
            Format::Json if streams.is_empty() => self.line("[]"),
            Format::Json => {
                for (at, stream) in streams.iter().enumerate() {
                    let before = if at == 0 { "[\n" } else { ",\n" };
                    let record = self.record(stream);
                    self.write(before)?;
                    self.write(&record)?;
                }
                self.line("\n]")
            }
            Format::Jsonl => streams.iter().try_for_each(|stream| {
                let record = self.record(stream);
                self.line(record)
            }),
        }?;
        self.flush()
    }

    /// Writes one record: a field a line, or as JSON.
    ///
    /// # Errors
    ///
    /// Where standard output takes no more.
    pub fn stream(&mut self, stream: &Stream) -> Result {
        match self.format() {
            Format::Table => {
                let fields = fields::fields(stream, Timestamp::now());
                self.write(&fields)?;
            }
            Format::Json | Format::Jsonl => {
                let record = self.record(stream);
                self.line(record)?;
            }
        }
        self.flush()
    }

    /// Writes what stands over the lines of events, where people read them.
    ///
    /// # Errors
    ///
    /// Where standard output takes no more.
    pub fn events_header(&mut self) -> Result {
        match self.format() {
            Format::Table => self.line(events::HEADER).and_then(|()| self.flush()),
            Format::Json | Format::Jsonl => Ok(()),
        }
    }

    /// Writes an event, a line of a table or of JSON; a sequence without an end is no one JSON document.
    ///
    /// # Errors
    ///
    /// Where standard output takes no more.
    pub fn event(&mut self, event: &Event) -> Result {
        let line = match self.format() {
            Format::Table => events::line(event),
            Format::Json | Format::Jsonl => self.for_terminal(event.to_json()),
        };
        self.line(line)?;
        self.flush()
    }

    /// Writes streams that have ended: a table, an array, or one a line.
    ///
    /// # Errors
    ///
    /// Where standard output takes no more.
    pub fn ends(&mut self, ends: &[Event]) -> Result {
        let lines: Vec<_> = match self.format() {
            Format::Table => events::ends(ends, Timestamp::now()),
            Format::Json | Format::Jsonl => {
                ends.iter().map(|end| self.for_terminal(end.to_json_with_duration())).collect()
            }
        };
        match self.format() {
            Format::Json if lines.is_empty() => self.line("[]"),
            Format::Json => self.line(format_args!("[\n{}\n]", lines.join(",\n"))),
            Format::Table | Format::Jsonl => lines.iter().try_for_each(|line| self.line(line)),
        }?;
        self.flush()
    }

    /// Writes counts: a table with their sum below, one JSON document, or one group a line.
    ///
    /// # Errors
    ///
    /// Where standard output takes no more.
    pub fn summary(&mut self, summary: &Summary) -> Result {
        // Texts and numbers always serialise.
        let json = |group: &Group| serde_json::to_string(group).unwrap_or_default();
        match self.format() {
            Format::Table => {
                let table = counts::table(summary);
                self.write(&table)?;
            }
            Format::Json => self.line(serde_json::to_string(summary).unwrap_or_default())?,
            Format::Jsonl => summary.groups.iter().try_for_each(|group| self.line(json(group)))?,
        }
        self.flush()
    }

    /// Hands on what was written so far.
    ///
    /// # Errors
    ///
    /// Where standard output takes no more.
    pub fn flush(&mut self) -> Result {
        self.stdout.flush().map_err(|error| Failure::output(&error))
    }

    fn write(&mut self, text: &str) -> Result {
        self.stdout.write_all(text.as_bytes()).map_err(|error| Failure::output(&error))
    }

    /// The record exactly as it is stored; only a terminal is spared what would drive it.
    fn record(&self, stream: &Stream) -> String {
        self.for_terminal(stream.to_json())
    }

    fn for_terminal(&self, json: String) -> String {
        if self.terminal { text::escape_json(&json).into_owned() } else { json }
    }
}

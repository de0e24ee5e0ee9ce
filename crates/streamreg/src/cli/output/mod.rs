//! The output of commands: tables, JSON, notes and error messages.

mod columns;
mod counts;
mod events;
mod fields;
mod table;
mod units;

use std::fmt::Display;
use std::io::Write;

use stream_registry::query::{Group, Summary};
use stream_registry::watch::Event;
use stream_registry::{Error, Stream, Timestamp};

use super::failure::{Failure, Result, Status};
use super::terminal;

/// Format of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Aligned columns for people.
    Table,
    /// One JSON document.
    Json,
    /// One JSON record per line.
    Jsonl,
}

/// Standard output and standard error of a command, and the formatting settings.
pub struct Output<'a> {
    /// Standard output.
    pub stdout: &'a mut dyn Write,
    /// Standard error.
    pub stderr: &'a mut dyn Write,
    /// The requested format. By default, a table on a terminal and JSON lines otherwise.
    pub format: Option<Format>,
    /// Whether standard output is a terminal.
    pub terminal: bool,
    /// Width of the terminal in columns. `None` means no limit.
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
    /// Fails if standard output cannot be written.
    pub fn line(&mut self, line: impl Display) -> Result {
        writeln!(self.stdout, "{line}").map_err(|error| Failure::output(&error))
    }

    /// Writes a note to standard error.
    pub fn note(&mut self, note: impl Display) {
        // One write for the whole line, because a command that `run` starts can print to the same terminal at the same
        // time. An error from writing to standard error cannot be reported anywhere.
        let line = format!("{}\n", terminal::escape(&note.to_string()));
        let _ = self.stderr.write_all(line.as_bytes());
    }

    /// Writes a question to standard error, without a line break.
    pub fn prompt(&mut self, question: impl Display) {
        let _ = self.stderr.write_all(terminal::escape(&question.to_string()).as_bytes());
        let _ = self.stderr.flush();
    }

    /// Writes a failure's message to standard error. Returns the failure's status.
    pub fn report(&mut self, failure: &Failure) -> Status {
        if let Some(message) = &failure.message {
            let _ = self.stderr.write_all(format!("streamreg: {message}\n").as_bytes());
        }
        failure.status
    }

    /// Converts an error from the store into a failure.
    pub fn failure(&self, error: &Error) -> Failure {
        Failure::store(error, self.store)
    }

    /// Writes records as a table, a JSON array, or JSON lines. The table shows ages at the store's time `now`.
    ///
    /// # Errors
    ///
    /// Fails if standard output cannot be written.
    pub fn streams(&mut self, streams: &[Stream], now: Timestamp) -> Result {
        match self.format() {
            Format::Table if streams.is_empty() => Ok(()),
            Format::Table => {
                let (table, dropped) = table::streams(streams, now, self.width);
                self.write(&table)?;
                self.flush()?;
                if !dropped.is_empty() {
                    let names = dropped.join(", ");
                    self.note(format_args!("no room for {names}; widen the terminal or use `streamreg get ID`"));
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

    /// Writes one record, either as JSON or with one line per field. The fields show ages at the store's time `now`.
    ///
    /// # Errors
    ///
    /// Fails if standard output cannot be written.
    pub fn stream(&mut self, stream: &Stream, now: Timestamp) -> Result {
        match self.format() {
            Format::Table => {
                let fields = fields::fields(stream, now);
                self.write(&fields)?;
            }
            Format::Json | Format::Jsonl => {
                let record = self.record(stream);
                self.line(record)?;
            }
        }
        self.flush()
    }

    /// Writes the header for event lines if the format is a table.
    ///
    /// # Errors
    ///
    /// Fails if standard output cannot be written.
    pub fn events_header(&mut self) -> Result {
        match self.format() {
            Format::Table => self.line(events::HEADER).and_then(|()| self.flush()),
            Format::Json | Format::Jsonl => Ok(()),
        }
    }

    /// Writes an event as one line, either of a table or of JSON. `Json` has the same effect as `Jsonl`, because the
    /// sequence of events has no end.
    ///
    /// # Errors
    ///
    /// Fails if standard output cannot be written.
    pub fn event(&mut self, event: &Event) -> Result {
        let line = match self.format() {
            Format::Table => events::line(event),
            Format::Json | Format::Jsonl => self.for_terminal(event.to_json()),
        };
        self.line(line)?;
        self.flush()
    }

    /// Writes ended streams as a table, a JSON array, or JSON lines. The table shows ages at the store's time `now`.
    ///
    /// # Errors
    ///
    /// Fails if standard output cannot be written.
    pub fn ended(&mut self, events: &[Event], now: Timestamp) -> Result {
        let lines = || events.iter().map(|event| self.for_terminal(event.to_json_with_duration())).collect::<Vec<_>>();
        match self.format() {
            Format::Table => {
                let table = events::ended(events, now);
                self.write(&table)?;
            }
            Format::Json if events.is_empty() => self.line("[]")?,
            Format::Json => {
                let lines = lines().join(",\n");
                self.line(format_args!("[\n{lines}\n]"))?;
            }
            Format::Jsonl => lines().iter().try_for_each(|line| self.line(line))?,
        }
        self.flush()
    }

    /// Writes a summary as a table, as one JSON document, or as JSON lines with one group per line.
    ///
    /// # Errors
    ///
    /// Fails if standard output cannot be written.
    pub fn summary(&mut self, summary: &Summary) -> Result {
        // Serialising strings and numbers cannot fail.
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

    /// Flushes standard output.
    ///
    /// # Errors
    ///
    /// Fails if standard output cannot be written.
    pub fn flush(&mut self) -> Result {
        self.stdout.flush().map_err(|error| Failure::output(&error))
    }

    fn write(&mut self, text: &str) -> Result {
        self.stdout.write_all(text.as_bytes()).map_err(|error| Failure::output(&error))
    }

    /// Returns the record's JSON: with legal values, and escaped for a terminal.
    fn record(&self, stream: &Stream) -> String {
        self.for_terminal(stream.to_json())
    }

    fn for_terminal(&self, json: String) -> String {
        if self.terminal { terminal::escape_json(&json).into_owned() } else { json }
    }
}

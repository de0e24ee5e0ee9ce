//! The output of commands: tables, JSON, notes and error messages.

mod columns;
mod counts;
mod diagnosis;
mod events;
mod fields;
mod members;
mod streams;
mod style;
mod table;
pub(super) mod units;
mod yaml;

use std::fmt::Display;
use std::io::Write;

use stream_registry::query::Summary;
use stream_registry::redis::{Diagnosis, Severity};
use stream_registry::watch::Event;
use stream_registry::{Error, Stream, StreamId, Timestamp};

use super::failure::{Failure, Result, Status};
use super::{log, terminal};

pub(super) use columns::Align;
pub(super) use events::{ENDED_HEADINGS, end, ended_cells, lived};
pub use events::{EventOptions, Zone};
pub(super) use fields::fields;
pub use streams::Column;
pub(super) use streams::{COLUMNS, Key, Shown};
pub use style::Colour;
pub(super) use style::{Style, enabled as colour_enabled};
pub use table::{Headings, TableOptions};

/// Format of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Aligned columns for people.
    Table,
    /// Aligned columns with more columns, and cells of any length.
    Wide,
    /// One id per line.
    Name,
    /// One JSON document.
    Json,
    /// One JSON record per line.
    Jsonl,
    /// One YAML document.
    Yaml,
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
    /// Width of the terminal, or of the output, in columns. `None` means no limit.
    pub width: Option<usize>,
    /// Whether tables have colours.
    pub colour: bool,
    /// Whether notes and error messages go to the log. Otherwise, they are plain lines on standard error.
    pub logs_notes: bool,
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
        if self.logs_notes {
            return tracing::info!("{note}");
        }
        // One write for the whole line, because a command that `run` starts can print to the same terminal at the same
        // time. An error from writing to standard error cannot be reported anywhere.
        let line = format!("{}\n", terminal::escape(&note.to_string()));
        let _ = self.stderr.write_all(line.as_bytes());
    }

    /// Writes a warning to standard error.
    pub fn warn(&mut self, warning: impl Display) {
        if self.logs_notes {
            return tracing::warn!("{warning}");
        }
        self.note(format_args!("streamreg: warning: {warning}"));
    }

    /// Writes a question to standard error, without a line break.
    pub fn prompt(&mut self, question: impl Display) {
        let _ = self.stderr.write_all(terminal::escape(&question.to_string()).as_bytes());
        let _ = self.stderr.flush();
    }

    /// Writes a failure's message to standard error. Returns the failure's status.
    pub fn report(&mut self, failure: &Failure) -> Status {
        if let Some(message) = &failure.message {
            if self.logs_notes {
                log::error_as_json(message);
                return failure.status;
            }
            let _ = self.stderr.write_all(format!("streamreg: {message}\n").as_bytes());
        }
        failure.status
    }

    /// Converts an error from the store into a failure.
    pub fn failure(&self, error: &Error) -> Failure {
        Failure::store(error, self.store)
    }

    /// Writes records as a table or in the requested format. The table shows ages at the store's time `now`.
    ///
    /// # Errors
    ///
    /// Fails if standard output cannot be written.
    pub fn streams(&mut self, streams: &[Stream], now: Timestamp, options: &TableOptions) -> Result {
        match self.format() {
            Format::Table | Format::Wide if streams.is_empty() => Ok(()),
            Format::Table | Format::Wide => {
                let (table, dropped) = self.table_of_streams(streams, now, options);
                self.write(&table)?;
                self.flush()?;
                if !dropped.is_empty() {
                    let names = dropped.join(", ");
                    self.note(format_args!("no room for {names}; widen the terminal or use --output wide"));
                }
                Ok(())
            }
            Format::Name => streams.iter().try_for_each(|stream| self.id(&stream.id)),
            Format::Json | Format::Jsonl | Format::Yaml => self.documents(streams.iter().map(Stream::to_json)),
        }?;
        self.flush()
    }

    /// Formats records as a table. Also returns the headings of columns that were dropped to fit the width.
    pub(super) fn table_of_streams(
        &self,
        streams: &[Stream],
        now: Timestamp,
        options: &TableOptions,
    ) -> (String, Vec<String>) {
        let wide = self.format() == Format::Wide;
        let layout = table::Layout {
            wide,
            cut: (self.terminal || self.width.is_some()) && !wide,
            colour: self.colour,
            width: self.width,
            columns: &options.columns,
            headings: options.headings,
        };
        table::streams(streams, now, &layout)
    }

    /// Writes one record in the requested format, as a table with one line per field. The fields show ages at the
    /// store's time `now`.
    ///
    /// # Errors
    ///
    /// Fails if standard output cannot be written.
    pub fn stream(&mut self, stream: &Stream, now: Timestamp) -> Result {
        match self.format() {
            Format::Json | Format::Jsonl | Format::Yaml => self.document(stream.to_json())?,
            _ => self.streams_in_full(std::slice::from_ref(stream), now)?,
        }
        self.flush()
    }

    /// Writes several records like [`streams`](Self::streams), but with one line per field in place of a table.
    ///
    /// # Errors
    ///
    /// Fails if standard output cannot be written.
    pub fn streams_in_full(&mut self, streams: &[Stream], now: Timestamp) -> Result {
        match self.format() {
            Format::Table => {
                let blocks: Vec<_> = streams.iter().map(|stream| fields(stream, now)).collect();
                self.write(&blocks.join("\n"))?;
                self.flush()
            }
            _ => self.streams(streams, now, &TableOptions::default()),
        }
    }

    /// Writes the header for event lines if the format is a table.
    ///
    /// # Errors
    ///
    /// Fails if standard output cannot be written.
    pub fn events_header(&mut self, options: &EventOptions) -> Result {
        match (self.format(), options.headings) {
            (Format::Table | Format::Wide, Headings::Shown) => {
                self.line(events::header(&options.zone)).and_then(|()| self.flush())
            }
            _ => Ok(()),
        }
    }

    /// Writes an event as one line of a table or of JSON, as one YAML document, or as the id of its stream. `Json` has
    /// the same effect as `Jsonl`, because the sequence of events has no end.
    ///
    /// # Errors
    ///
    /// Fails if standard output cannot be written.
    pub fn event(&mut self, event: &Event, options: &EventOptions) -> Result {
        match self.format() {
            Format::Table | Format::Wide => self.line(events::line(event, &options.zone, self.colour))?,
            Format::Name => event.stream().map_or(Ok(()), |stream| self.id(&stream.id))?,
            Format::Json | Format::Jsonl => self.document(event.to_json())?,
            Format::Yaml => {
                self.line("---")?;
                self.document(event.to_json())?;
            }
        }
        self.flush()
    }

    /// Writes ended streams as a table or in the requested format. The table shows ages at the store's time `now`.
    ///
    /// # Errors
    ///
    /// Fails if standard output cannot be written.
    pub fn ended(&mut self, events: &[Event], now: Timestamp) -> Result {
        match self.format() {
            Format::Table | Format::Wide => self.write(&events::ended(events, now))?,
            Format::Name => {
                events.iter().filter_map(Event::stream).try_for_each(|stream| self.id(&stream.id))?;
            }
            Format::Json | Format::Jsonl | Format::Yaml => {
                self.documents(events.iter().map(Event::to_json_with_duration))?;
            }
        }
        self.flush()
    }

    /// Writes a summary as a table, as one document, as JSON lines with one group per line, or as the names of the
    /// groups.
    ///
    /// # Errors
    ///
    /// Fails if standard output cannot be written.
    pub fn summary(&mut self, summary: &Summary) -> Result {
        let groups = &summary.groups;
        // Serialising strings and numbers cannot fail.
        match self.format() {
            Format::Table | Format::Wide => self.write(&counts::table(summary))?,
            Format::Name => groups.iter().filter_map(|group| group.key.as_ref()).try_for_each(|key| self.name(key))?,
            Format::Json | Format::Yaml => self.document(serde_json::to_string(summary).unwrap_or_default())?,
            Format::Jsonl => {
                self.documents(groups.iter().map(|group| serde_json::to_string(group).unwrap_or_default()))?;
            }
        }
        self.flush()
    }

    /// Writes the findings of a diagnosis for people, as one document, as JSON lines with one finding per line, or as
    /// the codes of the findings that need something to be done.
    ///
    /// # Errors
    ///
    /// Fails if standard output cannot be written.
    pub fn diagnosis(&mut self, diagnosis: &Diagnosis) -> Result {
        let findings = &diagnosis.findings;
        // Serialising strings cannot fail.
        match self.format() {
            Format::Table | Format::Wide => self.write(&diagnosis::text(diagnosis, self.width, self.colour))?,
            Format::Name => {
                let serious = findings.iter().filter(|finding| finding.severity >= Severity::Warning);
                let mut codes: Vec<_> = serious.map(|finding| finding.code.as_str()).collect();
                codes.dedup();
                codes.into_iter().try_for_each(|code| self.name(code))?;
            }
            Format::Json | Format::Yaml => self.document(serde_json::to_string(diagnosis).unwrap_or_default())?,
            Format::Jsonl => {
                self.documents(findings.iter().map(|finding| serde_json::to_string(finding).unwrap_or_default()))?;
            }
        }
        self.flush()
    }

    /// Writes the id of a stream as a line.
    ///
    /// # Errors
    ///
    /// Fails if standard output cannot be written.
    pub fn id(&mut self, id: &StreamId) -> Result {
        self.name(id.as_str())
    }

    /// Writes a string as a line, escaped on a terminal: it may contain characters that change the text direction.
    fn name(&mut self, name: &str) -> Result {
        if self.terminal { self.line(terminal::escape(name)) } else { self.line(name) }
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

    /// Writes one JSON document, or the same document as YAML.
    fn document(&mut self, json: String) -> Result {
        match self.format() {
            Format::Yaml => self.write(&yaml::document(&json)),
            _ => {
                let json = self.for_terminal(json);
                self.line(json)
            }
        }
    }

    /// Writes JSON documents as an array, as JSON lines, or as a YAML sequence.
    fn documents(&mut self, documents: impl ExactSizeIterator<Item = String>) -> Result {
        let format = self.format();
        if documents.len() == 0 {
            return if format == Format::Jsonl { Ok(()) } else { self.line("[]") };
        }
        for (at, json) in documents.enumerate() {
            match format {
                Format::Yaml => self.write(&yaml::element(&json))?,
                Format::Jsonl => self.document(json)?,
                _ => {
                    let json = self.for_terminal(json);
                    self.write(if at == 0 { "[\n" } else { ",\n" })?;
                    self.write(&json)?;
                }
            }
        }
        if format == Format::Json { self.line("\n]") } else { Ok(()) }
    }

    fn for_terminal(&self, json: String) -> String {
        if self.terminal { terminal::escape_json(&json).into_owned() } else { json }
    }
}

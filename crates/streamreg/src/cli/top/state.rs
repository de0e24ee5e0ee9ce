//! The state of `top`, without input and output. Events and data change it; `layout` prepares it for drawing.

use std::sync::Arc;
use std::time::Duration;

use stream_registry::query::Filter;
use stream_registry::watch::Event;
use stream_registry::{Stream, StreamId, Timestamp};

use super::cursor::Cursor;
use super::data::{Data, Wants};
use super::filter;
use super::rows::{self, Facet, Moment, Node, Rows, Sort};
use super::sheet::{Sheet, Widths};

/// What does not change while `top` runs.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Settings {
    /// The store's name without secrets.
    pub(in crate::cli) store: String,
    /// The time to live of the store.
    pub(in crate::cli) ttl: Duration,
    pub(in crate::cli) colour: bool,
}

/// What the middle of the screen shows.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Pane {
    #[default]
    Streams,
    Nodes,
    Ended,
    /// A live stream.
    Detail(StreamId),
    /// A stream of the list of ended streams.
    End(Arc<Event>),
}

/// The line in which a filter is typed.
#[derive(Clone, Debug)]
pub(super) struct Typing {
    pub(super) line: String,
    /// Why the line is invalid.
    pub(super) error: Option<String>,
    /// The filter before, which Esc restores.
    pub(super) before: Filter,
}

/// What the program does next, apart from drawing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    Quit,
    /// Stop like any program, until the shell continues it.
    Suspend,
    /// Draw the whole screen again.
    Redraw,
}

/// The state.
pub(in crate::cli) struct State {
    pub(super) settings: Settings,
    pub(super) data: Arc<Data>,
    /// The time since the start of the program.
    pub(super) clock: Duration,
    pub(super) frozen: bool,
    pub(super) facet: Facet,
    pub(super) filter: Filter,
    pub(super) sort: Sort,
    pub(super) pane: Pane,
    pub(super) help: bool,
    pub(super) typing: Option<Typing>,
    pub(super) rows: Rows,
    pub(super) nodes: Vec<(String, Node)>,
    /// The stream that the cursor follows when the order changes; `None` until the cursor has been moved.
    pub(super) follows: Option<StreamId>,
    pub(super) streams_cursor: Cursor,
    /// The cursor of the other panes.
    pub(super) cursor: Cursor,
    /// The last record of the stream in the detail pane.
    pub(super) shown: Option<Arc<Stream>>,
    /// The lines of the present pane.
    pub(super) sheet: Sheet,
    pub(super) widths: Widths,
    /// Number of lines of the pane on the screen.
    pub(super) height: usize,
    /// The streams on the screen.
    pub(super) visible: Vec<StreamId>,
    pub(super) request: Option<Request>,
    dirty: bool,
}

impl State {
    pub(in crate::cli) fn new(settings: Settings, filter: Filter, sort: Sort, data: Arc<Data>) -> Self {
        let mut state = Self {
            settings,
            clock: data.at,
            data,
            frozen: false,
            facet: Facet::All,
            filter,
            sort,
            pane: Pane::Streams,
            help: false,
            typing: None,
            rows: Rows::default(),
            nodes: Vec::new(),
            follows: None,
            streams_cursor: Cursor::default(),
            cursor: Cursor::default(),
            shown: None,
            sheet: Sheet::default(),
            widths: Widths::default(),
            height: 0,
            visible: Vec::new(),
            request: None,
            dirty: true,
        };
        state.select();
        state
    }

    /// Replaces the data. A frozen table keeps its streams, but shows the state of the connection.
    pub(in crate::cli) fn data(&mut self, data: Arc<Data>) {
        self.clock = self.clock.max(data.at);
        self.dirty = true;
        if self.frozen {
            let Data { streams, now, bitrates, taken_over, detail, ended, .. } = (*self.data).clone();
            // A pane that was opened since then has no data to keep.
            let wanted = self.wants().detail;
            let detail = detail.filter(|detail| wanted.as_ref() == Some(&detail.id)).or_else(|| data.detail.clone());
            let ended = ended.or_else(|| data.ended.clone());
            let kept = Data { streams, now, bitrates, taken_over, detail, ended, ..(*data).clone() };
            self.data = Arc::new(kept);
            return;
        }
        self.data = data;
        self.select();
    }

    /// Lets time pass. `clock` is the time since the start of the program.
    pub(in crate::cli) fn tick(&mut self, clock: Duration) {
        // All times on the screen are in seconds. During an outage, they stand still.
        self.dirty |= clock.as_secs() != self.clock.as_secs() && !self.frozen && self.data.outage.is_none();
        self.clock = clock;
    }

    /// Returns whether the screen is outdated, until the next call of `layout`.
    pub(in crate::cli) fn is_dirty(&self) -> bool {
        self.dirty
    }

    /// Takes what the program has to do.
    pub(super) fn take_request(&mut self) -> Option<Request> {
        self.request.take()
    }

    /// Returns what has to be read for the screen.
    pub(in crate::cli) fn wants(&self) -> Wants {
        let detail = match &self.pane {
            Pane::Detail(id) => Some(id.clone()),
            Pane::End(event) => event.stream().map(|last| last.id.clone()),
            _ => None,
        };
        let visible = if self.pane == Pane::Streams { self.visible.clone() } else { Vec::new() };
        Wants { visible, detail, ended: matches!(self.pane, Pane::Ended | Pane::End(_)) }
    }

    /// Returns the time since the data was last known to be current.
    pub(super) fn age(&self) -> Duration {
        self.data.age.saturating_add(self.clock.saturating_sub(self.data.at))
    }

    /// Returns the store's time, for ages. It stands still while the store does not answer and while the table is
    /// frozen.
    pub(super) fn now(&self) -> Timestamp {
        if self.frozen || self.data.outage.is_some() {
            return self.data.now;
        }
        let passed = self.clock.saturating_sub(self.data.at).as_nanos();
        Timestamp::from_unix_nanos(self.data.now.as_unix_nanos().saturating_add(passed.cast_signed()))
    }

    /// Marks the screen as outdated.
    pub(super) fn touch(&mut self) {
        self.dirty = true;
    }

    /// Marks the screen as drawn.
    pub(super) fn drawn(&mut self) {
        self.dirty = false;
    }

    /// Selects, counts and sorts the streams again.
    pub(super) fn select(&mut self) {
        self.dirty = true;
        let data = Arc::clone(&self.data);
        let moment = Moment { now: self.now(), ttl: self.settings.ttl, taken_over: &data.taken_over };
        self.rows = rows::select(&data.streams, &moment, &self.filter, self.facet, self.sort);
        if self.pane == Pane::Nodes {
            self.nodes = rows::by_node(&data.streams, &moment, &self.filter);
        }
        if let Some(id) = &self.follows
            && let Some(at) = self.rows.streams.iter().position(|stream| stream.id == *id)
        {
            self.streams_cursor.selected = at;
        }
        if let Pane::Detail(id) = &self.pane
            && let Some(stream) = data.streams.iter().find(|stream| stream.id == *id)
        {
            self.shown = Some(Arc::clone(stream));
        }
    }

    /// Returns the stream under the cursor.
    pub(super) fn selected(&self) -> Option<&Arc<Stream>> {
        self.rows.streams.get(self.streams_cursor.selected)
    }

    /// Returns the ended streams that match the filter.
    pub(super) fn ended(&self) -> Vec<&Event> {
        let events = match &self.data.ended {
            Some(Ok(events)) => events.as_slice(),
            _ => &[],
        };
        let matches = self.filter.matcher();
        events.iter().filter(|event| event.stream().is_some_and(|last| matches(last))).collect()
    }

    /// Opens a pane.
    pub(super) fn open(&mut self, pane: Pane) {
        if let Pane::Detail(_) = pane {
            self.shown = self.selected().cloned();
        }
        self.pane = pane;
        self.cursor = Cursor::default();
        self.widths = Widths::default();
        self.select();
    }

    /// Applies the line that is typed as the filter. While the line is invalid, the filter from before applies.
    pub(super) fn typed(&mut self) {
        let Some(typing) = &mut self.typing else { return };
        let (filter, error) = match filter::parse(&typing.line) {
            Ok(filter) => (filter, None),
            Err(error) => (typing.before.clone(), Some(error)),
        };
        typing.error = error;
        self.set_filter(filter);
        self.dirty = true;
    }

    pub(super) fn set_filter(&mut self, filter: Filter) {
        if filter != self.filter {
            self.filter = filter;
            self.streams_cursor = Cursor::default();
            self.cursor = Cursor::default();
            self.follows = None;
            self.widths = Widths::default();
            self.select();
        }
    }
}

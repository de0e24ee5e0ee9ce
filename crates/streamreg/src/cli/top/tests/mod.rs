//! Tests of `top` without a terminal: events and data change the state, and a test backend shows the screen.

mod actions;
mod hostile;
mod screens;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use ratatui_core::backend::TestBackend;
use ratatui_core::buffer::Buffer;
use ratatui_core::terminal::Terminal;
use ratatui_crossterm::crossterm::event::{
    Event, KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind,
};
use stream_registry::query::Filter;
use stream_registry::watch::{Ending, Event as Change};
use stream_registry::{Stream, StreamStatus, StreamType, Timestamp};

use super::data::{Data, Detail, Note, Run, Sample};
use super::draw::draw;
use super::rows::Sort;
use super::state::{Settings, State};
use crate::cli::terminal;

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn now() -> Timestamp {
    time("2026-01-01T00:10:00Z")
}

fn stream(id: &str, status: StreamStatus, node: &str, bitrate: u64) -> Arc<Stream> {
    let mut stream = Stream::new(id.parse().unwrap(), StreamType::Srt, "203.0.113.7:40112");
    stream.set_status(status);
    stream.created_at = time("2026-01-01T00:00:00Z");
    stream.last_heartbeat = time("2026-01-01T00:09:58Z");
    stream.node = Some(node.to_owned()).filter(|node| !node.is_empty());
    (stream.video_codec, stream.resolution) = ("HEVC".into(), "1920x1080".into());
    (stream.bitrate, stream.packets_received, stream.packets_lost) = (bitrate, 99_000, bitrate / 100_000);
    Arc::new(stream)
}

/// Five streams of two nodes. `cam5` is late, and `cam2` was taken over.
fn streams() -> Vec<Arc<Stream>> {
    let mut late = Stream::clone(&stream("cam5", StreamStatus::Paused, "", 0));
    late.last_heartbeat = time("2026-01-01T00:06:00Z");
    vec![
        stream("cam1", StreamStatus::Active, "ingest-1", 5_000_000),
        stream("studio-2/camera-with-a-long-name", StreamStatus::Active, "ingest-2", 12_000_000),
        stream("cam3", StreamStatus::Error, "ingest-1", 800_000),
        stream("cam2", StreamStatus::Connecting, "ingest-2", 0),
        Arc::new(late),
    ]
}

fn data(streams: Vec<Arc<Stream>>) -> Data {
    Data {
        ready: true,
        streams,
        now: now(),
        age: Duration::from_secs(1),
        outage: None,
        at: Duration::from_secs(10),
        unreadable: 0,
        bitrates: vec![0.0, 4e6, 9e6, 17.8e6],
        taken_over: Arc::new(HashSet::from(["cam2".parse().unwrap()])),
        detail: None,
        ended: None,
    }
}

fn detail(id: &str, remark: &str) -> Detail {
    let note =
        |at: &str, word, status, remark: &str| Note { at: Some(time(at)), word, status, remark: remark.to_owned() };
    let notes = vec![
        note("2026-01-01T00:00:00Z", "registered", StreamStatus::Connecting, remark),
        note("2026-01-01T00:00:02Z", "status changed", StreamStatus::Active, ""),
    ];
    let sample = |bitrate, loss, rtt| Sample { bitrate, loss, rtt, jitter: f32::NAN };
    let samples = vec![sample(4e6, f32::NAN, 12.5), sample(4.9e6, 0.001, 14.0), sample(5e6, 1.5, 13.0)];
    let run = Run { created_at: time("2026-01-01T00:00:00Z"), samples, span: Duration::from_secs(10) };
    Detail { id: id.parse().unwrap(), runs: vec![run], notes }
}

fn ended() -> Vec<Change> {
    let end = |id: &str, reason: Option<&str>, as_of: &str| {
        let mut last = Stream::clone(&stream(id, StreamStatus::Closed, "ingest-1", 0));
        (last.bytes_received, last.bitrate, last.rtt_ms) = (1_300_000, 5_000_000, Some(13.0));
        last.end_reason = reason.map(str::to_owned);
        Change::Ended {
            revision: "h-1".parse().unwrap(),
            reason: reason.map_or(Ending::Expired, |reason| Ending::Unregistered(reason.parse().unwrap())),
            last: Arc::new(last),
            as_of: Some(time(as_of)),
        }
    };
    vec![end("cam8", Some("end of event"), "2026-01-01T00:09:50Z"), end("cam9", None, "2026-01-01T00:08:00Z")]
}

fn state(streams: Vec<Arc<Stream>>) -> State {
    let settings = Settings { store: "redis://127.0.0.1:6379".into(), ttl: Duration::from_secs(300), colour: true };
    State::new(settings, Filter::default(), Sort::default(), Arc::new(data(streams)))
}

/// Draws the screen.
fn shown(state: &mut State, width: u16, height: u16) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal
        .draw(|frame| {
            state.layout(frame.area());
            draw(state, frame.area(), frame.buffer_mut());
        })
        .unwrap();
    terminal.backend().buffer().clone()
}

/// Returns the lines of a screen, without spaces at their ends.
fn text(buffer: &Buffer) -> String {
    let mut text = String::new();
    for row in buffer.area.rows() {
        let mut line = String::new();
        let mut x = row.x;
        while x < row.right() {
            let symbol = buffer[(x, row.y)].symbol();
            line.push_str(symbol);
            x += u16::try_from(terminal::width(symbol)).unwrap().max(1);
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn code(state: &mut State, code: KeyCode) {
    state.event(&Event::Key(KeyEvent::new(code, KeyModifiers::NONE)));
}

/// Presses a key for each character.
fn keys(state: &mut State, keys: &str) {
    for key in keys.chars() {
        code(state, if key == '\n' { KeyCode::Enter } else { KeyCode::Char(key) });
    }
}

fn mouse(state: &mut State, kind: MouseEventKind, column: u16, row: u16) {
    state.event(&Event::Mouse(MouseEvent { kind, column, row, modifiers: KeyModifiers::NONE }));
}

fn click(state: &mut State, column: u16, row: u16) {
    mouse(state, MouseEventKind::Down(MouseButton::Left), column, row);
}

/// Returns the ids on the screen, from top to bottom.
fn ids(state: &State) -> Vec<&str> {
    state.rows.streams.iter().map(|stream| stream.id.as_str()).collect()
}

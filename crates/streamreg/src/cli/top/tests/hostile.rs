//! Screens of every size, and records that other programs have filled with hostile strings.

use super::*;

/// Strings that could move the cursor, reorder text or confuse widths.
const HOSTILE: [&str; 9] = [
    "a\u{1b}[2J\u{1b}]0;title\u{7}b",
    "\u{9b}31mred\u{9c}",
    "line\r\nbreak\tand\0nul",
    "\u{202e}gpj.exe\u{2066}x",
    "\u{feff}\u{200b}\u{2028}",
    "東京 📺 👩‍🚀 e\u{301}",
    "\u{301}\u{302}\u{303}",
    "\u{1f3f4}\u{e0067}\u{e007f}",
    "\u{85}\u{7f}\u{61c}",
];

fn hostile_streams() -> Vec<Arc<Stream>> {
    let long = "東".repeat(300);
    let strings = HOSTILE.iter().copied().chain([long.as_str()]);
    strings
        .enumerate()
        .map(|(at, string)| {
            let mut stream = Stream::new(
                format!("{at}{string}").parse().unwrap_or_else(|_| format!("s{at}").parse().unwrap()),
                StreamType::Srt,
                string,
            );
            stream.node = Some(string.to_owned());
            (stream.video_codec, stream.resolution) = (string.to_owned(), string.to_owned());
            stream.audio_codec = Some(string.to_owned());
            stream.labels.insert(string.to_owned(), string.to_owned());
            stream.end_reason = Some(string.to_owned());
            (stream.bitrate, stream.packets_received, stream.packets_lost) = (u64::MAX, u64::MAX, u64::MAX);
            stream.frame_rate = f64::MAX;
            stream.rtt_ms = Some(f64::MAX);
            stream.created_at = Timestamp::ZERO;
            Arc::new(stream)
        })
        .collect()
}

fn hostile_state() -> State {
    let mut state = state(hostile_streams());
    state.settings.store = HOSTILE[0].to_owned();
    let ended = hostile_streams().into_iter().map(|last| {
        let (revision, as_of) = ("h-1".parse().unwrap(), Some(now()));
        Change::Ended { revision, reason: Ending::Expired, last, as_of }
    });
    let id = state.rows.streams[0].id.to_string();
    state.data(Arc::new(Data {
        outage: Some(HOSTILE.concat()),
        detail: Some(detail(&id, &HOSTILE.concat())),
        ended: Some(Ok(Arc::new(ended.collect()))),
        ..data(hostile_streams())
    }));
    state
}

#[test]
fn no_control_or_direction_character_reaches_the_terminal() {
    let mut state = hostile_state();
    for pressed in ["1", "g", "e", "\n", "1\n", "1?", "x/\u{1b}[2J\u{202e}", "\u{1b}=x"] {
        keys(&mut state, pressed);
        let screen = text(&shown(&mut state, 300, 60));
        for c in screen.chars().filter(|c| *c != '\n') {
            assert_eq!(terminal::escape(&c.to_string()), c.to_string(), "after {pressed:?}:\n{screen}");
        }
        assert!(screen.lines().all(|line| terminal::width(line) <= 300), "{screen}");
    }
}

#[test]
fn every_size_of_the_screen_can_be_drawn() {
    let mut state = hostile_state();
    for pressed in ["1", "g", "e", "\n", "1\n", "1?", "x/a", "=x"] {
        keys(&mut state, pressed);
        for width in (0..24).chain([79, 80, 200]) {
            for height in 0..12 {
                shown(&mut state, width, height);
                if state.help || state.typing.is_some() {
                    continue;
                }
                for to in [KeyCode::PageDown, KeyCode::End, KeyCode::Up] {
                    code(&mut state, to);
                }
                mouse(&mut state, MouseEventKind::ScrollUp, width.saturating_sub(1), height.saturating_sub(1));
            }
        }
    }
}

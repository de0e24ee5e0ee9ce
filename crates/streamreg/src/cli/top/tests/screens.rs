//! Screens, compared with reviewed files. `RENEW=1 cargo test -p streamreg --lib top::tests` writes them
//! again; review the difference before you commit it.

use std::path::Path;

use ratatui_core::style::{Color, Modifier};

use super::*;
use crate::cli::top::state::Pane;

/// Compares a screen with the file of this name.
fn check(name: &str, screen: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/top/tests/screens").join(format!("{name}.txt"));
    if std::env::var_os("RENEW").is_some() {
        std::fs::write(&path, screen).unwrap();
    }
    let reviewed = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(screen == reviewed, "{name} differs from its reviewed screen. Now it is:\n{screen}\nbefore:\n{reviewed}");
}

/// Returns the streams after a change of `cam1`.
fn with_cam1(change: impl FnOnce(&mut Stream)) -> Vec<Arc<Stream>> {
    let mut streams = streams();
    change(Arc::make_mut(&mut streams[0]));
    streams
}

#[test]
fn table_shows_the_columns_that_fit_the_width() {
    for (width, height) in [(140, 12), (80, 24), (60, 10), (40, 10), (20, 5)] {
        let mut state = state(streams());
        check(&format!("streams-{width}x{height}"), &text(&shown(&mut state, width, height)));
    }
}

#[test]
fn wide_screen_has_the_columns_of_the_wide_list() {
    let streams = with_cam1(|full| {
        (full.frame_rate, full.rtt_ms, full.viewers) = (59.94, Some(12.5), Some(7));
        full.labels.insert("tenant".into(), "acme".into());
    });
    check("streams-200x10", &text(&shown(&mut state(streams), 200, 10)));
}

#[test]
fn each_pane_has_its_lines_and_its_keys() {
    let mut state = state(streams());
    state.data(Arc::new(Data {
        detail: Some(detail("cam1", "203.0.113.7:40112")),
        ended: Some(Ok(Arc::new(ended()))),
        ..data(with_cam1(|cam1| cam1.rtt_ms = Some(13.0)))
    }));
    shown(&mut state, 80, 24);
    for (name, pressed) in [("nodes", "g"), ("ended", "e"), ("detail", "1\n"), ("help", "1?")] {
        keys(&mut state, pressed);
        let height = if name == "detail" || name == "help" { 30 } else { 12 };
        check(&format!("{name}-80"), &text(&shown(&mut state, 80, height)));
    }
}

#[test]
fn detail_of_an_ended_stream_keeps_its_last_record() {
    let mut state = state(with_cam1(|cam1| cam1.rtt_ms = Some(13.0)));
    keys(&mut state, "\n");
    assert!(matches!(&state.pane, Pane::Detail(id) if id.as_str() == "cam1"));
    state.data(Arc::new(Data { detail: Some(detail("cam1", "")), ..data(streams().split_off(1)) }));
    check("detail-ended-80", &text(&shown(&mut state, 80, 12)));
}

#[test]
fn enter_on_an_ended_stream_shows_its_end_and_its_final_record() {
    let mut state = state(streams());
    let of_cam8 = || Data {
        ended: Some(Ok(Arc::new(ended()))),
        detail: Some(detail("cam8", "203.0.113.7:40112")),
        ..data(streams())
    };
    state.data(Arc::new(of_cam8()));
    keys(&mut state, "e\n");
    check("end-80", &text(&shown(&mut state, 80, 32)));
    // The id was registered again: the charts are those of the run that has ended.
    let mut again = Stream::clone(&stream("cam8", StreamStatus::Active, "ingest-1", 1_000));
    again.created_at = time("2026-01-01T00:09:55Z");
    let mut both = detail("cam8", "");
    let sample = Sample { bitrate: 1e3, ..Sample::UNKNOWN };
    both.runs.insert(0, Run { created_at: again.created_at, samples: vec![sample], span: Duration::ZERO });
    let of_both = Data { streams: vec![Arc::new(again)], detail: Some(both.clone()), ..of_cam8() };
    state.data(Arc::new(of_both.clone()));
    check("end-live-60", &text(&shown(&mut state, 60, 12)));
    // Only the run that is live now was recorded.
    both.runs.truncate(1);
    state.data(Arc::new(Data { detail: Some(both), ..of_both }));
    let screen = text(&shown(&mut state, 60, 30));
    assert!(screen.contains("same id") && !screen.contains("recorded") && !screen.contains("latest"), "{screen}");
    let unknown = Change::Ended {
        revision: "h-1".parse().unwrap(),
        reason: Ending::Expired,
        last: stream("cam8", StreamStatus::Active, "", 0),
        as_of: None,
    };
    state.data(Arc::new(Data { ended: Some(Ok(Arc::new(vec![unknown]))), ..data(streams()) }));
    keys(&mut state, "e\n");
    let screen = text(&shown(&mut state, 80, 12));
    assert!(screen.contains("This stream has ended: it expired\nIts last record is unknown.\n"), "{screen}");
}

#[test]
fn charts_show_only_what_was_recorded_and_shrink_with_the_width() {
    let mut state = state(streams());
    keys(&mut state, "\n");
    let mut recorded = detail("cam1", "");
    recorded.runs[0].samples = (0..60u8)
        .map(|at| Sample {
            bitrate: 5e6,
            loss: if at == 30 || at == 59 { f32::NAN } else { f32::from(at % 7) },
            rtt: f32::NAN,
            jitter: f32::from(at),
        })
        .collect();
    recorded.runs[0].span = Duration::from_secs(295);
    let cam1 = with_cam1(|cam1| cam1.jitter_ms = Some(59.0));
    state.data(Arc::new(Data { detail: Some(recorded), ..data(cam1) }));
    for width in [120, 60, 40, 20] {
        let screen = text(&shown(&mut state, width, 8));
        check(&format!("charts-{width}"), &screen);
    }
    let mut once = detail("cam1", "");
    once.runs[0].samples.truncate(1);
    state.data(Arc::new(Data { detail: Some(once), ..data(streams()) }));
    assert!(text(&shown(&mut state, 80, 8)).contains("\nrecorded once "));
    let nothing = Detail { runs: Vec::new(), ..detail("cam1", "") };
    state.data(Arc::new(Data { detail: Some(nothing), ..data(streams()) }));
    assert!(text(&shown(&mut state, 80, 8)).contains("no statistics recorded since the start of top"));
}

#[test]
fn latest_values_of_the_charts_are_those_of_the_fields() {
    let newer = with_cam1(|cam1| (cam1.bitrate, cam1.rtt_ms) = (7_654_321, Some(21.5)));
    let mut state = state(newer.clone());
    state.data(Arc::new(Data { detail: Some(detail("cam1", "")), ..data(newer) }));
    keys(&mut state, "\n");
    let screen = text(&shown(&mut state, 80, 30));
    for expected in ["▅▆█ 7.7 Mbit/s 4.0 Mbit/s 7.7 Mbit/s", "21.5 ms 12.5 ms 21.5 ms", "(7.7 Mbit/s)", "rtt_ms 21.5"]
    {
        assert!(screen.split_whitespace().collect::<Vec<_>>().join(" ").contains(expected), "{expected}: {screen}");
    }
}

#[test]
fn ended_streams_have_their_loss_even_if_it_is_unknown() {
    let mut lossless = ended();
    for event in &mut lossless {
        let Change::Ended { last, .. } = event else { unreachable!() };
        Arc::make_mut(last).packets_received = 0;
    }
    let mut state = state(streams());
    state.data(Arc::new(Data { ended: Some(Ok(Arc::new(lossless))), ..data(streams()) }));
    keys(&mut state, "e");
    for width in [120, 80, 60] {
        let screen = text(&shown(&mut state, width, 8));
        assert!(screen.contains(" LOSS ") && screen.contains(" -  "), "{screen}");
    }
}

#[test]
fn outage_is_a_gap_in_the_title_and_the_charts() {
    let mut gap = detail("cam1", "");
    gap.runs[0].samples.splice(1..1, [Sample::UNKNOWN; 3]);
    let bitrates = vec![4e6, f32::NAN, f32::NAN, f32::NAN, 5e6];
    let mut state = state(streams());
    state.data(Arc::new(Data { detail: Some(gap), bitrates, ..data(streams()) }));
    keys(&mut state, "\n");
    let screen = text(&shown(&mut state, 80, 12));
    assert!(screen.contains(" ▇   █  redis") && screen.contains("\nbitrate  ▇   ██ "), "{screen}");
}

#[test]
fn outage_shows_its_start_and_its_cause_on_every_width_and_ages_stand_still() {
    for (width, height) in [(120, 9), (80, 9), (60, 9)] {
        let mut state = state(streams());
        let outage = Some("store unreachable since 14:05:10Z: connection refused; retrying".to_owned());
        state.data(Arc::new(Data { outage, ..data(streams()) }));
        state.tick(Duration::from_secs(18));
        check(&format!("outage-{width}"), &text(&shown(&mut state, width, height)));
    }
}

#[test]
fn totals_are_those_of_the_filter() {
    for (width, height) in [(100, 9), (60, 9)] {
        let mut state = state(streams());
        keys(&mut state, "/node=ingest-1\n3");
        check(&format!("filtered-{width}"), &text(&shown(&mut state, width, height)));
    }
}

#[test]
fn help_and_footer_fit_a_small_screen() {
    for (width, height) in [(60, 15), (40, 8)] {
        let mut state = state(streams());
        check(&format!("streams-{width}x{height}"), &text(&shown(&mut state, width, height)));
        keys(&mut state, "?");
        check(&format!("help-{width}x{height}"), &text(&shown(&mut state, width, height)));
    }
}

#[test]
fn title_says_loading_until_the_streams_are_loaded_and_how_old_a_silent_feed_is() {
    let mut loading = state(Vec::new());
    loading.data(Arc::new(Data { ready: false, ..data(Vec::new()) }));
    let screen = text(&shown(&mut loading, 80, 8));
    assert!(screen.lines().next().unwrap().ends_with(" loading") && screen.contains("\nloading …\n"), "{screen}");
    let mut old = state(streams());
    old.tick(Duration::from_secs(40));
    let screen = text(&shown(&mut old, 80, 8));
    assert!(screen.lines().next().unwrap().ends_with(" ! 31s old"), "{screen}");
}

#[test]
fn unknown_key_of_a_filter_is_an_error_and_the_filter_from_before_applies() {
    for width in [80, 60] {
        let mut state = state(streams());
        keys(&mut state, "/node=ingest-1\n/foo=bar");
        check(&format!("typing-{width}"), &text(&shown(&mut state, width, 10)));
    }
}

#[test]
fn empty_tables_say_what_to_do() {
    let mut empty = state(Vec::new());
    for (pressed, expected) in [
        ("", "no live streams; try `streamreg demo`"),
        ("/x\n", "no streams match; Esc removes the filter"),
        ("e", "reading the ended streams …"),
    ] {
        keys(&mut empty, pressed);
        let screen = text(&shown(&mut empty, 80, 8));
        assert!(screen.contains(expected), "{screen}");
    }
    let mut none_active = state(vec![stream("a", StreamStatus::Error, "", 0)]);
    keys(&mut none_active, "2");
    assert!(text(&shown(&mut none_active, 80, 8)).contains("no streams here; press 1 for all"));
}

#[test]
fn status_has_a_colour_only_if_colours_are_on() {
    let mut state = state(vec![stream("a", StreamStatus::Error, "", 0), stream("b", StreamStatus::Error, "", 0)]);
    let foregrounds = |screen: &Buffer| screen.content.iter().map(|cell| cell.fg).collect::<HashSet<_>>();
    let screen = shown(&mut state, 80, 8);
    assert_eq!(foregrounds(&screen), HashSet::from([Color::Reset, Color::Red, Color::Green]));
    state.settings.colour = false;
    let plain = shown(&mut state, 80, 8);
    assert_eq!(foregrounds(&plain), HashSet::from([Color::Reset]));
    assert_eq!(text(&plain), text(&screen));
    // The selected line is marked without a colour.
    assert!(
        plain[(0, 3)].modifier.contains(Modifier::REVERSED) && !plain[(0, 4)].modifier.contains(Modifier::REVERSED)
    );
}

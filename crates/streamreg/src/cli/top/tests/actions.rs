//! What keys, clicks, data and time change.

use super::*;
use crate::cli::top::state::{Pane, Request};

#[test]
fn keys_sort_by_the_columns_on_the_screen_and_reverse_the_order() {
    let mut state = state(streams());
    shown(&mut state, 140, 20);
    assert_eq!(ids(&state), ["cam1", "cam2", "cam3", "cam5", "studio-2/camera-with-a-long-name"]);
    // Type, status, source, node, codec, resolution, bitrate.
    keys(&mut state, "sssssss");
    assert_eq!(ids(&state), ["studio-2/camera-with-a-long-name", "cam1", "cam3", "cam2", "cam5"]);
    keys(&mut state, "r");
    assert_eq!(ids(&state), ["cam2", "cam5", "cam3", "cam1", "studio-2/camera-with-a-long-name"]);
    assert!(text(&shown(&mut state, 140, 20)).contains("BITRATE▲"));
    keys(&mut state, "S");
    assert!(text(&shown(&mut state, 140, 20)).contains("RESOLUTION▼"));
}

#[test]
fn click_on_a_heading_sorts_and_a_second_click_reverses() {
    let mut state = state(streams());
    let screen = text(&shown(&mut state, 80, 24));
    let headings = screen.lines().nth(2).unwrap();
    let column = u16::try_from(headings.chars().position(|c| c == 'B').unwrap()).unwrap();
    click(&mut state, column, 2);
    assert_eq!((ids(&state)[0], state.sort.descending), ("studio-2/camera-with-a-long-name", true));
    click(&mut state, column, 2);
    assert_eq!((ids(&state)[0], state.sort.descending), ("cam2", false));
    // The gap between two columns belongs to none of them.
    let before = ids(&state).join(" ");
    let age = headings.chars().count() - "AGE".len();
    click(&mut state, u16::try_from(age - 1).unwrap(), 2);
    assert_eq!(ids(&state).join(" "), before);
}

#[test]
fn click_selects_a_line_and_a_second_click_opens_it() {
    let mut state = state(streams());
    shown(&mut state, 80, 24);
    click(&mut state, 5, 5);
    assert_eq!(state.selected().unwrap().id.as_str(), "cam3");
    shown(&mut state, 80, 24);
    click(&mut state, 5, 5);
    assert!(matches!(&state.pane, Pane::Detail(id) if id.as_str() == "cam3"));
    code(&mut state, KeyCode::Esc);
    shown(&mut state, 80, 24);
    mouse(&mut state, MouseEventKind::ScrollDown, 0, 5);
    assert_eq!(state.selected().unwrap().id.as_str(), "studio-2/camera-with-a-long-name");
    // Below the last line and on the footer, a click has no effect.
    click(&mut state, 0, 20);
    click(&mut state, 0, 23);
    assert_eq!(state.pane, Pane::Streams);
}

#[test]
fn facets_are_selected_by_keys_and_clicks() {
    let mut state = state(streams());
    for (key, expected) in [
        ("1", &["cam1", "cam2", "cam3", "cam5", "studio-2/camera-with-a-long-name"][..]),
        ("2", &["cam1", "studio-2/camera-with-a-long-name"]),
        ("3", &["cam3"]),
        ("4", &["cam5"]),
        ("5", &["cam2"]),
    ] {
        keys(&mut state, key);
        assert_eq!(ids(&state), expected);
    }
    let screen = text(&shown(&mut state, 80, 24));
    let facets = screen.lines().nth(1).unwrap();
    click(&mut state, u16::try_from(facets.find("error").unwrap()).unwrap(), 1);
    assert_eq!(ids(&state), ["cam3"]);
}

#[test]
fn lease_is_late_sooner_than_a_stream_without_a_known_interval() {
    let with = |epoch: &str, heartbeat: &str| {
        let record = format!(
            r#"{{"type":"srt","source_addr":"","status":"active","last_heartbeat":"{heartbeat}","created_at":"{heartbeat}"{epoch}}}"#
        );
        Arc::new(Stream::from_stored(&"a".parse().unwrap(), &record).unwrap())
    };
    let (epoch, none) = (r#","epoch":"7""#, "");
    for (epoch, heartbeat, late) in [
        (epoch, "2026-01-01T00:09:31Z", 0),
        (epoch, "2026-01-01T00:09:29Z", 1),
        (none, "2026-01-01T00:09:29Z", 0),
        (none, "2026-01-01T00:07:29Z", 1),
    ] {
        assert_eq!(state(vec![with(epoch, heartbeat)]).rows.counts[3], late, "{epoch} {heartbeat}");
    }
}

#[test]
fn filter_applies_while_it_is_valid_and_escape_restores_the_last_one() {
    let mut state = state(streams());
    keys(&mut state, "/node=ingest-1\n");
    assert_eq!(ids(&state), ["cam1", "cam3"]);
    keys(&mut state, "/status=error");
    assert_eq!(ids(&state), ["cam3"]);
    // Enter does not close an invalid line, and the filter from before applies.
    keys(&mut state, " label=\n");
    assert!(state.typing.as_ref().unwrap().error.is_some());
    assert_eq!(ids(&state), ["cam1", "cam3"]);
    code(&mut state, KeyCode::Esc);
    assert_eq!(ids(&state), ["cam1", "cam3"]);
    keys(&mut state, "/");
    state.event(&Event::Key(KeyEvent::new(KeyCode::Char('u'), KeyModifiers::CONTROL)));
    keys(&mut state, "CAM5");
    assert_eq!((ids(&state), state.rows.counts), (vec!["cam5"], [1, 0, 0, 1, 0]));
    keys(&mut state, "q\n");
    assert_eq!(state.request, None, "q is a character of the filter");
    code(&mut state, KeyCode::Esc);
    assert_eq!(ids(&state).len(), 5, "Esc in the table removes the filter");
}

#[test]
fn enter_on_a_node_shows_its_streams() {
    let mut state = state(streams());
    keys(&mut state, "gjj\n");
    assert_eq!((ids(&state), &state.pane), (vec!["cam2", "studio-2/camera-with-a-long-name"], &Pane::Streams));
    keys(&mut state, "g");
    code(&mut state, KeyCode::Esc);
    code(&mut state, KeyCode::Esc);
    // The first line has the streams without a node.
    keys(&mut state, "g\n");
    assert_eq!(ids(&state), ["cam5"]);
}

#[test]
fn silent_nodes_are_first() {
    let mut streams = streams();
    for stream in &mut streams[..3] {
        let mut late = Stream::clone(stream);
        late.last_heartbeat = time("2026-01-01T00:05:00Z");
        *stream = Arc::new(late);
    }
    let mut state = state(streams);
    keys(&mut state, "g");
    let nodes: Vec<_> = state.nodes.iter().map(|(name, node)| (name.as_str(), node.is_silent)).collect();
    // Of the two streams of ingest-2, one still sends.
    assert_eq!(nodes, [("", true), ("ingest-1", true), ("ingest-2", false)]);
}

#[test]
fn escape_returns_to_the_ended_stream_although_the_list_has_grown() {
    let mut state = state(streams());
    let with = |ended| Arc::new(Data { ended: Some(Ok(Arc::new(ended))), ..data(streams()) });
    state.data(with(ended()));
    keys(&mut state, "ej\n");
    assert!(matches!(&state.pane, Pane::End(event) if event.stream().unwrap().id.as_str() == "cam9"));
    assert_eq!(state.wants().detail.map(|id| id.to_string()), Some("cam9".into()));
    let mut grown = ended();
    grown.insert(0, ended().remove(0));
    state.data(with(grown));
    code(&mut state, KeyCode::Esc);
    assert_eq!((&state.pane, state.cursor.selected), (&Pane::Ended, 2));
    // The list stays open while a filter is typed.
    keys(&mut state, "/cam9\n\n");
    assert!(matches!(&state.pane, Pane::End(event) if event.stream().unwrap().id.as_str() == "cam9"));
    code(&mut state, KeyCode::Esc);
    keys(&mut state, "/x\n\n");
    assert_eq!(state.pane, Pane::Ended, "no stream matches");
}

#[test]
fn cursor_follows_its_stream_after_it_was_moved() {
    let mut state = state(streams());
    shown(&mut state, 80, 24);
    let more = |id: &str| {
        let mut all = streams();
        all.push(stream(id, StreamStatus::Active, "", 0));
        Arc::new(data(all))
    };
    state.data(more("a"));
    assert_eq!(state.selected().unwrap().id.as_str(), "a", "the cursor stays on top until it is moved");
    keys(&mut state, "j");
    assert_eq!(state.selected().unwrap().id.as_str(), "cam1");
    state.data(more("b"));
    assert_eq!(state.selected().unwrap().id.as_str(), "cam1");
    state.data(Arc::new(data(Vec::new())));
    assert!(state.selected().is_none());
    keys(&mut state, "\n");
    assert_eq!(state.pane, Pane::Streams);
}

#[test]
fn frozen_table_keeps_its_streams_until_it_is_thawed() {
    let mut state = state(streams());
    keys(&mut state, " ");
    let outage = Some("store unreachable since 00:10:01Z: no answer in time; retrying".to_owned());
    state.data(Arc::new(Data { outage, at: Duration::from_secs(11), ..data(Vec::new()) }));
    assert_eq!(ids(&state).len(), 5);
    let screen = text(&shown(&mut state, 80, 8));
    assert!(screen.lines().next().unwrap().contains("FROZEN  ! store unreachable since 00:10:01Z"), "{screen}");
    keys(&mut state, " ");
    state.data(Arc::new(data(Vec::new())));
    assert!(ids(&state).is_empty());
}

#[test]
fn pane_that_is_opened_on_a_frozen_screen_has_its_data() {
    let mut state = state(streams());
    keys(&mut state, " \n");
    let opened = |notes: &str| {
        Arc::new(Data { detail: Some(detail("cam1", notes)), ended: Some(Ok(Arc::new(ended()))), ..data(Vec::new()) })
    };
    state.data(opened("first"));
    let screen = text(&shown(&mut state, 80, 40));
    assert!(screen.contains("recorded for 10s") && screen.contains("(first)"), "{screen}");
    state.data(opened("second"));
    assert!(text(&shown(&mut state, 80, 40)).contains("(first)"), "the screen is frozen");
    keys(&mut state, "e");
    assert!(text(&shown(&mut state, 80, 24)).contains("cam9"));
}

#[test]
fn screen_is_drawn_again_only_after_a_change() {
    let mut state = state(streams());
    assert!(state.is_dirty());
    shown(&mut state, 80, 24);
    assert!(!state.is_dirty());
    state.tick(Duration::from_millis(10_900));
    assert!(!state.is_dirty(), "times on the screen are in seconds");
    state.tick(Duration::from_millis(11_000));
    assert!(state.is_dirty());
    shown(&mut state, 80, 24);
    mouse(&mut state, MouseEventKind::Moved, 3, 3);
    assert!(!state.is_dirty());
    keys(&mut state, " ");
    shown(&mut state, 80, 24);
    state.tick(Duration::from_secs(12));
    assert!(!state.is_dirty(), "nothing changes on a frozen screen");
    keys(&mut state, " ");
    state.data(Arc::new(Data { outage: Some("store unreachable".into()), ..data(streams()) }));
    shown(&mut state, 80, 24);
    state.tick(Duration::from_secs(13));
    assert!(!state.is_dirty(), "times stand still while the store does not answer");
    state.event(&Event::Resize(60, 20));
    assert!(state.is_dirty());
}

#[test]
fn source_is_asked_for_the_streams_on_the_screen_only() {
    let many = (0..100).map(|n| stream(&format!("s{n:03}"), StreamStatus::Active, "", n)).collect();
    let mut state = state(many);
    shown(&mut state, 80, 10);
    let visible = |state: &State| {
        let wants = state.wants();
        let first = wants.visible.first().map(ToString::to_string).unwrap_or_default();
        (wants.visible.len(), first, wants.detail.map(|id| id.to_string()), wants.ended)
    };
    assert_eq!(visible(&state), (6, "s000".into(), None, false));
    code(&mut state, KeyCode::End);
    shown(&mut state, 80, 10);
    assert_eq!(visible(&state), (6, "s094".into(), None, false));
    keys(&mut state, "\n");
    assert_eq!(visible(&state), (0, String::new(), Some("s099".into()), false));
    keys(&mut state, "e");
    assert_eq!(visible(&state), (0, String::new(), None, true));
}

#[test]
fn program_is_asked_to_quit_by_q_and_ctrl_c() {
    let control = |key| Event::Key(KeyEvent::new(KeyCode::Char(key), KeyModifiers::CONTROL));
    for (event, request) in [
        (Event::Key(KeyEvent::new(KeyCode::Char('q'), KeyModifiers::NONE)), Request::Quit),
        (control('c'), Request::Quit),
        (control('z'), Request::Suspend),
        (control('l'), Request::Redraw),
    ] {
        let mut state = state(Vec::new());
        state.event(&event);
        assert_eq!(state.take_request(), Some(request));
        assert_eq!(state.take_request(), None);
    }
    let mut typing = state(Vec::new());
    keys(&mut typing, "/q");
    typing.event(&control('c'));
    assert_eq!(typing.take_request(), Some(Request::Quit));
}

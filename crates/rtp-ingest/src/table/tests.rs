use super::candidates::MAX_CANDIDATES;
use super::*;

const SDP: &str = "m=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\na=framesize:96 320-240\n";

struct TestTable {
    table: Table,
    now: Instant,
}

impl TestTable {
    fn new(max_sessions: usize) -> Self {
        let table = Table::new(5004, TableOptions::default().max_sessions(max_sessions));
        Self { table, now: Instant::now() }
    }

    fn rtp(&mut self, source: &str, ssrc: u32, sequence: u16) -> Effect {
        let packet = Rtp { payload_type: 96, marker: true, sequence, timestamp: 0, ssrc, payload_bytes: 88 };
        self.table.rtp(source.parse().unwrap(), &packet, 100, self.now)
    }

    fn start_session(&mut self, source: &str, ssrc: u32) {
        assert_eq!(self.rtp(source, ssrc, 1), Effect::None);
        assert_eq!(self.rtp(source, ssrc, 2), Effect::Changed);
    }

    fn bye(&mut self, source: &str, ssrc: u32) -> Effect {
        let packet = Rtcp { byes: vec![ssrc], ..Rtcp::default() };
        self.table.rtcp(source.parse().unwrap(), &packet, self.now)
    }

    fn report(&mut self, source: &str, ssrc: u32) {
        let packet = Rtcp { reporters: vec![ssrc], ..Rtcp::default() };
        assert_eq!(self.table.rtcp(source.parse().unwrap(), &packet, self.now), Effect::None);
    }

    fn advance(&mut self, time: Duration) -> Effect {
        self.now += time;
        self.table.reap(self.now)
    }

    fn ended(&self) -> Vec<Option<EndCause>> {
        self.table.observe().into_iter().map(|session| session.ended).collect()
    }
}

const A: &str = "192.0.2.1:5000";
const SECOND: Duration = Duration::from_secs(1);

#[test]
fn session_begins_with_the_second_packet_in_sequence() {
    let mut fixture = TestTable::new(10);
    assert_eq!(fixture.rtp(A, 1, 7), Effect::None);
    assert_eq!(fixture.rtp(A, 2, 7), Effect::None);
    assert!(fixture.table.observe().is_empty());
    assert_eq!(fixture.rtp(A, 1, 8), Effect::Changed);
    assert_eq!(fixture.table.observe().len(), 1);
}

#[test]
fn each_pair_of_ssrc_and_address_is_a_session() {
    let mut fixture = TestTable::new(10);
    fixture.start_session(A, 1);
    fixture.start_session(A, 2);
    fixture.start_session("192.0.2.2:5000", 1);
    fixture.start_session("[2001:db8::1]:5000", 1);
    fixture.start_session("192.0.2.1:5002", 1);
    assert_eq!(fixture.table.observe().len(), 5);
}

#[test]
fn bye_ends_only_the_session_of_its_ssrc_and_address() {
    // RTCP may come from the session's port or from the next port. It may come from any port if the SSRC is unique at
    // the address.
    for (from, ends) in [
        (A, Some(0)),
        ("192.0.2.1:5001", Some(0)),
        ("192.0.2.1:6001", Some(1)),
        ("192.0.2.1:6000", Some(1)),
        ("192.0.2.2:5000", None),
    ] {
        let mut fixture = TestTable::new(10);
        fixture.start_session(A, 1);
        fixture.start_session("192.0.2.1:6000", 1);
        fixture.start_session("192.0.2.1:5000", 2);
        let effect = fixture.bye(from, 1);
        let expected: Vec<_> = (0..3).map(|n| (Some(n) == ends).then_some(EndCause::Bye(None))).collect();
        assert_eq!(fixture.ended(), expected, "{from}");
        assert_eq!(effect == Effect::Changed, ends.is_some(), "{from}");
    }
    let mut fixture = TestTable::new(10);
    fixture.start_session(A, 1);
    assert_eq!(fixture.bye("192.0.2.1:9999", 1), Effect::Changed, "the only session with this SSRC");
    fixture.start_session(A, 2);
    fixture.start_session("192.0.2.1:6000", 2);
    assert_eq!(fixture.bye("192.0.2.1:9999", 2), Effect::None, "ambiguous: two sessions have this SSRC");
    assert_eq!(fixture.bye(A, 77), Effect::None, "unknown SSRC");
}

#[test]
fn late_packets_after_bye_start_no_session() {
    let mut fixture = TestTable::new(10);
    fixture.start_session(A, 1);
    assert_eq!(fixture.bye(A, 1), Effect::Changed);
    assert_eq!(fixture.bye(A, 1), Effect::None, "a second BYE has no effect");
    fixture.table.remove(0);
    for sequence in 3..10 {
        assert_eq!(fixture.rtp(A, 1, sequence), Effect::None);
    }
    assert!(fixture.table.observe().is_empty());
    assert_eq!(fixture.advance(LINGER), Effect::None);
    fixture.start_session(A, 1);
    assert_eq!(fixture.table.observe()[0].number, 1, "a new session, not the old one");
}

#[test]
fn sender_that_returns_after_a_timeout_gets_a_new_session() {
    let mut fixture = TestTable::new(10);
    fixture.start_session(A, 1);
    fixture.start_session(A, 2);
    assert_eq!(fixture.advance(9 * SECOND), Effect::None);
    fixture.report("192.0.2.1:5001", 2);
    assert_eq!(fixture.advance(SECOND), Effect::Changed);
    let silence = Some(EndCause::Silence(10 * SECOND));
    assert_eq!(fixture.ended(), [silence.clone(), None], "a report keeps the session alive");
    assert_eq!(fixture.advance(SECOND), Effect::None, "a session times out only once");
    // The sender sends again before its ended session has been removed. That session stays ended.
    fixture.start_session(A, 1);
    assert_eq!(fixture.ended(), [silence, None, None]);
    fixture.table.remove(0);
    fixture.table.remove(2);
    assert_eq!(fixture.table.observe().len(), 2, "a live session is not removed");
    assert_eq!(fixture.rtp(A, 1, 3), Effect::None);
    assert_eq!(fixture.table.observe()[1].stats.packets_received, Some(2), "the new session continues");
}

#[test]
fn candidates_and_sessions_stay_within_limits_during_a_flood() {
    let mut fixture = TestTable::new(3);
    for ssrc in 0..50_000 {
        assert_eq!(fixture.rtp(A, ssrc, 9), Effect::None);
    }
    assert_eq!(fixture.table.candidates.len(), MAX_CANDIDATES);
    assert!(fixture.table.observe().is_empty());
    for ssrc in 0..100 {
        let _ = fixture.rtp("192.0.2.9:1", ssrc, 1);
        let _ = fixture.rtp("192.0.2.9:1", ssrc, 2);
    }
    assert_eq!(fixture.table.observe().len(), 3);
    assert_eq!(fixture.table.by_key.len(), 3);
    // An ended session counts towards the limit until it is removed.
    assert_eq!(fixture.bye("192.0.2.9:1", 0), Effect::Changed);
    assert_eq!(fixture.rtp(A, 60_000, 1), Effect::None);
    assert_eq!(fixture.rtp(A, 60_000, 2), Effect::None);
    fixture.table.remove(0);
    assert_eq!(fixture.rtp(A, 60_001, 1), Effect::None);
    assert_eq!(fixture.rtp(A, 60_001, 2), Effect::Changed);
}

#[test]
fn table_stays_within_its_limit_after_many_byes() {
    let mut fixture = TestTable::new(3);
    for ssrc in 0..1_000 {
        fixture.start_session(A, ssrc);
        assert_eq!(fixture.bye(A, ssrc), Effect::Changed);
        fixture.table.remove(u64::from(ssrc));
    }
    assert!(fixture.table.by_key.len() <= 3 && fixture.table.lingering.len() <= 3);
}

#[test]
fn second_packet_more_than_10_s_later_starts_no_session() {
    let mut fixture = TestTable::new(3);
    assert_eq!(fixture.rtp(A, 1, 1), Effect::None);
    assert_eq!(fixture.advance(11 * SECOND), Effect::None);
    assert_eq!(fixture.rtp(A, 1, 2), Effect::None);
    assert_eq!(fixture.rtp(A, 1, 3), Effect::Changed);
}

#[test]
fn new_session_description_applies_to_existing_sessions() {
    let mut fixture = TestTable::new(3);
    fixture.start_session(A, 1);
    assert_eq!(fixture.table.observe()[0].description, Description::default());
    fixture.table.set_sdp(Sdp::parse(SDP));
    let session = &fixture.table.observe()[0];
    assert_eq!(
        (session.description.video_codec.as_str(), session.description.resolution.as_str()),
        ("H264", "320x240")
    );
    fixture.start_session(A, 2);
    assert_eq!(fixture.table.observe()[1].description, fixture.table.observe()[0].description);
}

#[test]
fn end_all_keeps_the_cause_of_sessions_that_ended_earlier() {
    let mut fixture = TestTable::new(3);
    fixture.start_session(A, 1);
    fixture.start_session(A, 2);
    assert_eq!(fixture.bye(A, 1), Effect::Changed);
    fixture.table.end_all();
    assert_eq!(fixture.ended(), [Some(EndCause::Bye(None)), Some(EndCause::Shutdown)]);
    fixture.table.roll(fixture.now + SECOND);
    assert_eq!(fixture.table.periods(), 1);
}

use super::candidates::MAX_CANDIDATES;
use super::*;

const SDP: &str = "m=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\na=framesize:96 320-240\n";

struct Bench {
    table: Table,
    now: Instant,
}

impl Bench {
    fn new(max_sessions: usize) -> Self {
        let table = Table::new(TableOptions { max_sessions, ..TableOptions::default() });
        Self { table, now: Instant::now() }
    }

    fn rtp(&mut self, source: &str, ssrc: u32, sequence: u16) -> Effect {
        let packet = Rtp { payload_type: 96, marker: true, sequence, timestamp: 0, ssrc, payload_bytes: 88 };
        self.table.rtp(source.parse().unwrap(), &packet, 100, self.now)
    }

    fn live(&mut self, source: &str, ssrc: u32) {
        assert_eq!(self.rtp(source, ssrc, 1), Effect::None);
        assert_eq!(self.rtp(source, ssrc, 2), Effect::News);
    }

    fn bye(&mut self, source: &str, ssrc: u32) -> Effect {
        let packet = Rtcp { byes: vec![ssrc], ..Rtcp::default() };
        self.table.rtcp(source.parse().unwrap(), &packet, self.now)
    }

    fn report(&mut self, source: &str, ssrc: u32) {
        let packet = Rtcp { reporters: vec![ssrc], ..Rtcp::default() };
        assert_eq!(self.table.rtcp(source.parse().unwrap(), &packet, self.now), Effect::None);
    }

    fn pass(&mut self, time: Duration) -> Effect {
        self.now += time;
        self.table.reap(self.now)
    }

    fn ended(&self) -> Vec<Option<Ending>> {
        self.table.observe().into_iter().map(|seen| seen.ended).collect()
    }
}

const A: &str = "192.0.2.1:5000";
const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_single_packet_is_no_session() {
    let mut bench = Bench::new(10);
    assert_eq!(bench.rtp(A, 1, 7), Effect::None);
    assert_eq!(bench.rtp(A, 2, 7), Effect::None);
    assert!(bench.table.observe().is_empty());
    assert_eq!(bench.rtp(A, 1, 8), Effect::News);
    assert_eq!(bench.table.observe().len(), 1);
}

#[test]
fn source_and_address_make_the_session() {
    let mut bench = Bench::new(10);
    bench.live(A, 1);
    bench.live(A, 2);
    bench.live("192.0.2.2:5000", 1);
    bench.live("[2001:db8::1]:5000", 1);
    bench.live("192.0.2.1:5002", 1);
    assert_eq!(bench.table.observe().len(), 5);
}

#[test]
fn bye_ends_the_session_that_it_is_about() {
    // RTCP comes from the same port, from the one above, or from any if there is one such source only.
    for (from, ends) in [
        (A, Some(0)),
        ("192.0.2.1:5001", Some(0)),
        ("192.0.2.1:6001", Some(1)),
        ("192.0.2.1:6000", Some(1)),
        ("192.0.2.2:5000", None),
    ] {
        let mut bench = Bench::new(10);
        bench.live(A, 1);
        bench.live("192.0.2.1:6000", 1);
        bench.live("192.0.2.1:5000", 2);
        let effect = bench.bye(from, 1);
        let expected: Vec<_> = (0..3).map(|n| (Some(n) == ends).then_some(Ending::Bye(None))).collect();
        assert_eq!(bench.ended(), expected, "{from}");
        assert_eq!(effect == Effect::News, ends.is_some(), "{from}");
    }
    let mut bench = Bench::new(10);
    bench.live(A, 1);
    assert_eq!(bench.bye("192.0.2.1:9999", 1), Effect::News, "the only one of its source");
    bench.live(A, 2);
    bench.live("192.0.2.1:6000", 2);
    assert_eq!(bench.bye("192.0.2.1:9999", 2), Effect::None, "one of two: nobody can say which");
    assert_eq!(bench.bye(A, 77), Effect::None, "unknown");
}

#[test]
fn late_packets_after_bye_begin_nothing() {
    let mut bench = Bench::new(10);
    bench.live(A, 1);
    assert_eq!(bench.bye(A, 1), Effect::News);
    assert_eq!(bench.bye(A, 1), Effect::None, "only once");
    bench.table.forget(0);
    for sequence in 3..10 {
        assert_eq!(bench.rtp(A, 1, sequence), Effect::None);
    }
    assert!(bench.table.observe().is_empty());
    assert_eq!(bench.pass(LINGER), Effect::None);
    bench.live(A, 1);
    assert_eq!(bench.table.observe()[0].number, 1, "a new session, not the old one");
}

#[test]
fn silence_ends_and_the_return_is_a_new_session() {
    let mut bench = Bench::new(10);
    bench.live(A, 1);
    bench.live(A, 2);
    assert_eq!(bench.pass(9 * SECOND), Effect::None);
    bench.report("192.0.2.1:5001", 2);
    assert_eq!(bench.pass(SECOND), Effect::News);
    let silence = Some(Ending::Silence(10 * SECOND));
    assert_eq!(bench.ended(), [silence.clone(), None], "a report is a sign of life");
    assert_eq!(bench.pass(SECOND), Effect::None, "only once");
    // Back before the end was heard of: the old one stays ended.
    bench.live(A, 1);
    assert_eq!(bench.ended(), [silence, None, None]);
    bench.table.forget(0);
    bench.table.forget(2);
    assert_eq!(bench.table.observe().len(), 2, "a live one is not forgotten");
    assert_eq!(bench.rtp(A, 1, 3), Effect::None);
    assert_eq!(bench.table.observe()[1].stats.packets_received, 2, "the new one goes on");
}

#[test]
fn a_flood_of_sources_is_bounded() {
    let mut bench = Bench::new(3);
    for ssrc in 0..50_000 {
        assert_eq!(bench.rtp(A, ssrc, 9), Effect::None);
    }
    assert_eq!(bench.table.candidates.len(), MAX_CANDIDATES);
    assert!(bench.table.observe().is_empty());
    for ssrc in 0..100 {
        let _ = bench.rtp("192.0.2.9:1", ssrc, 1);
        let _ = bench.rtp("192.0.2.9:1", ssrc, 2);
    }
    assert_eq!(bench.table.observe().len(), 3);
    assert_eq!(bench.table.by_key.len(), 3);
    // An ended one counts until the store has heard of it.
    assert_eq!(bench.bye("192.0.2.9:1", 0), Effect::News);
    assert_eq!(bench.rtp(A, 60_000, 1), Effect::None);
    assert_eq!(bench.rtp(A, 60_000, 2), Effect::None);
    bench.table.forget(0);
    assert_eq!(bench.rtp(A, 60_001, 1), Effect::None);
    assert_eq!(bench.rtp(A, 60_001, 2), Effect::News);
}

#[test]
fn many_byes_leave_few_traces() {
    let mut bench = Bench::new(3);
    for ssrc in 0..1_000 {
        bench.live(A, ssrc);
        assert_eq!(bench.bye(A, ssrc), Effect::News);
        bench.table.forget(u64::from(ssrc));
    }
    assert!(bench.table.by_key.len() <= 3 && bench.table.lingering.len() <= 3);
}

#[test]
fn an_old_first_packet_does_not_count() {
    let mut bench = Bench::new(3);
    assert_eq!(bench.rtp(A, 1, 1), Effect::None);
    assert_eq!(bench.pass(11 * SECOND), Effect::None);
    assert_eq!(bench.rtp(A, 1, 2), Effect::None);
    assert_eq!(bench.rtp(A, 1, 3), Effect::News);
}

#[test]
fn a_description_counts_for_sessions_that_are_there() {
    let mut bench = Bench::new(3);
    bench.live(A, 1);
    assert_eq!(bench.table.observe()[0].description, Description::default());
    bench.table.set_sdp(Sdp::parse(SDP));
    let seen = &bench.table.observe()[0];
    assert_eq!((seen.description.video_codec.as_str(), seen.description.resolution.as_str()), ("H264", "320x240"));
    bench.live(A, 2);
    assert_eq!(bench.table.observe()[1].description, bench.table.observe()[0].description);
}

#[test]
fn the_end_of_all() {
    let mut bench = Bench::new(3);
    bench.live(A, 1);
    bench.live(A, 2);
    assert_eq!(bench.bye(A, 1), Effect::News);
    bench.table.end_all();
    assert_eq!(bench.ended(), [Some(Ending::Bye(None)), Some(Ending::Shutdown)]);
    bench.table.roll(bench.now + SECOND);
    assert_eq!(bench.table.periods(), 1);
}

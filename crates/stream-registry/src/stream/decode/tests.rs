use super::super::encode::encode;
use super::super::limits::MAX_COUNT;
use super::*;

fn id() -> StreamId {
    "cam/1 \"x\"".parse().unwrap()
}

fn later() -> Timestamp {
    "2030-01-01T00:00:00Z".parse().unwrap()
}

#[test]
fn encoder_writes_compact_json_in_fixed_field_order() {
    let mut stream = Stream::new(id(), StreamType::Srt, "[::1]:9000");
    (stream.created_at, stream.last_heartbeat) = (Timestamp::ZERO, later());
    stream.frame_rate = 59.94;
    stream.bytes_received = MAX_COUNT;
    assert_eq!(
        encode(&stream),
        r#"{"id":"cam/1 \"x\"","type":"srt","source_addr":"[::1]:9000","status":"connecting","created_at":"0001-01-01T00:00:00.000000000Z","last_heartbeat":"2030-01-01T00:00:00.000000000Z","video_codec":"","resolution":"","bitrate":0,"frame_rate":59.94,"bytes_received":9223372036854775807,"packets_received":0,"packets_lost":0}"#
    );
    stream.frame_rate = 25.0;
    stream.node = Some("n1".into());
    stream.labels.insert("a".into(), "b\n".into());
    stream.rtt_ms = Some(0.0);
    stream.viewers = Some(7);
    let json = encode(&stream);
    assert!(json.contains(r#""frame_rate":25,"#), "{json}");
    assert!(json.ends_with(r#""packets_lost":0,"node":"n1","labels":{"a":"b\n"},"rtt_ms":0,"viewers":7}"#), "{json}");
    assert_eq!(decode_stored(&id(), &json).unwrap(), stream);
    assert_eq!(Stream::from_json(&json).unwrap(), stream);
}

/// This test fails if the encoder or one of the two decoders omits a field.
#[test]
fn record_with_all_fields_survives_the_encoder_and_both_decoders() {
    let mut json: Vec<String> = NAMES.map(|name| format!("\"{name}\":1")).to_vec();
    for (index, value) in [
        (0, "\"a\""),
        (1, "\"srt\""),
        (2, "\"h:1\""),
        (3, "\"active\""),
        (4, "\"2026-11-22T14:08:10.000000000Z\""),
        (5, "\"2026-11-22T14:08:11.000000000Z\""),
        (6, "\"HEVC\""),
        (7, "\"1920x1080\""),
        (13, "\"n\""),
        (14, "\"e\""),
        (15, "{\"k\":\"v\"}"),
        (16, "\"AAC\""),
        (22, "\"done\""),
    ] {
        json[index] = format!("\"{}\":{value}", NAMES[index]);
    }
    let json = format!("{{{}}}", json.join(","));
    let id = "a".parse().unwrap();
    let general = decode_general(&id, &json).unwrap();
    assert_eq!(canonical::decode(Some(&id), &json).as_ref(), Some(&general));
    assert_eq!(Stream::from_json(&json).unwrap(), general);
    assert_eq!(encode(&general), json);
    assert_eq!(general.extra.unknown().count(), 0);
}

#[test]
fn canonical_decoder_agrees_with_general_decoder() {
    const PLAIN: &str = r#"{"id":"a","type":"srt","source_addr":"[::1]:5","status":"active","created_at":"2026-11-22T14:08:10.921427415Z","last_heartbeat":"2026-11-22T14:08:11.000000000Z","video_codec":"HEVC","resolution":"1920x1080","bitrate":5000000,"frame_rate":59.94,"bytes_received":9223372036854775807,"packets_received":1,"packets_lost":0"#;
    let id: StreamId = "a".parse().unwrap();
    let mut canonical = 0;
    for tail in [
        "}",
        r#","node":"n"}"#,
        r#","epoch":"e","labels":{"k":"v","l":""},"rtt_ms":1.5,"viewers":7,"end_reason":"x"}"#,
        r#","audio_codec":"AAC","jitter_ms":0,"packets_retransmitted":1,"packets_dropped":2}"#,
        r#","node":""}"#,
        r#","node":5}"#,
        r#","labels":{}}"#,
        r#","labels":{"k":1}}"#,
        r#","x":1}"#,
        r#","node":"n","node":"m"}"#,
        r#","rtt_ms":-1}"#,
        r#","viewers":1e3}"#,
        r#","viewers":01}"#,
        "} ",
        "",
        "}}",
        r#","packets_lost":3}"#,
        r#","epoch":"a b"}"#,
        r#","labels":{"k":"v","k":"w"}}"#,
        r#","rtt_ms":1e999}"#,
        r#","rtt_ms":1.}"#,
        r#","rtt_ms":01}"#,
        r#","rtt_ms":1.E5}"#,
        r#","rtt_ms":1E5}"#,
    ] {
        let json = format!("{PLAIN}{tail}");
        if let Some(stream) = canonical::decode(Some(&id), &json) {
            canonical += 1;
            let general = decode_general(&id, &json).unwrap();
            assert_eq!(stream, general, "{json}");
            assert_eq!(encode(&stream), encode(&general), "{json}");
        }
    }
    assert!(canonical >= 4, "the canonical decoder must read JSON that the encoder writes");
    for (from, to) in [
        ("\"srt\"", "\"a\\u0062\""),
        ("5000000", "5e6"),
        ("5000000", "-5"),
        ("59.94", "\"59.94\""),
        ("Z\",\"last", "+00:00\",\"last"),
        ("2026-11-22T14:08:10", "2026-02-30T14:08:10"),
        ("2026-11-22T14:08:10", "2026-11-22T14:08:60"),
        ("HEVC", "HE\u{1}VC"),
        ("9223372036854775807", "9223372036854775808"),
        ("\"type\"", "\"typ\""),
    ] {
        let json = format!("{}}}", PLAIN.replacen(from, to, 1));
        assert_ne!(json, format!("{PLAIN}}}"));
        assert!(canonical::decode(Some(&id), &json).is_none(), "{json}");
    }
}

/// Returns a record with this number of nested levels.
fn nested(levels: usize, field: &str) -> String {
    let inner = levels - 1;
    let (open, close) = ("[".repeat(inner - inner / 2), "]".repeat(inner - inner / 2));
    let (open_objects, close_objects) = (r#"{"[]]":"#.repeat(inner / 2), "}".repeat(inner / 2));
    format!(r#"{{"id":"a","type":"srt","{field}":{open_objects}{open}{close}{close_objects}}}"#)
}

#[test]
fn record_with_more_than_64_nested_levels_is_rejected_and_unreadable() {
    for levels in [2, 63, MAX_LEVELS] {
        assert!(Stream::from_json(&nested(levels, "x")).is_ok(), "{levels}");
        assert!(decode_stored(&id(), &nested(levels, "labels")).is_ok(), "{levels}");
        assert!(decode_listed(&nested(levels, "x")).is_ok(), "{levels}");
    }
    for levels in [MAX_LEVELS + 1, 900, 10_000] {
        let error = Stream::from_json(&nested(levels, "x")).unwrap_err();
        assert!(!error.is_stored() && error.message().contains("64 nested levels"), "{levels}: {error}");
        for field in ["x", "labels", "bitrate"] {
            let error = decode_stored(&id(), &nested(levels, field)).unwrap_err();
            assert!(error.is_stored() && error.message().contains("64 nested levels"), "{levels}: {error}");
        }
        assert!(decode_listed(&nested(levels, "x")).is_err());
    }
    // Brackets in strings do not count as levels.
    let brackets = format!(r#"{{"id":"a","type":"srt","x":["{}","\\\"{}"]}}"#, "[".repeat(70), "[".repeat(70));
    assert!(Stream::from_json(&brackets).is_ok());
}

#[test]
fn stored_value_that_is_not_an_object_is_corrupt() {
    for json in ["", "x", "[]", "null", "\"{}\"", "{", "{}{}", "{\"a\":1,}", "{\"a\":\u{1}}"] {
        let error = decode_stored(&id(), json).unwrap_err();
        assert!(error.is_stored(), "{json}");
        assert_eq!(error.stream_id(), Some(id().as_str()));
    }
    assert!(decode_stored(&id(), "{}").is_ok());
}

#[test]
fn nonconforming_value_from_a_caller_is_rejected() {
    for (field, value) in [
        ("id", "5"),
        ("id", "\"\""),
        ("id", "\"active\""),
        ("type", "1"),
        ("type", "\"\""),
        ("type", "\"a b\""),
        ("status", "\"\""),
        ("status", "[]"),
        ("created_at", "0"),
        ("last_heartbeat", "\"yesterday\""),
        ("bitrate", "-1"),
        ("bitrate", "-0.5"),
        ("bitrate", "NaN"),
        ("bytes_received", "9223372036854775808"),
        ("packets_lost", "9223372036854775807.5"),
        ("viewers", "-Infinity"),
        ("packets_lost", "\"0\""),
        ("frame_rate", "-1"),
        ("frame_rate", "1e999"),
        ("labels", "[]"),
        ("labels", "{\"a\":1}"),
        ("labels", "{\"\":\"x\"}"),
        ("node", "{}"),
        ("rtt_ms", "true"),
        ("viewers", "-1"),
        ("source_addr", "\"\\ud800\""),
    ] {
        let mut fields = BTreeMap::from([("id", "\"a\""), ("type", "\"srt\"")]);
        fields.insert(field, value);
        let json: Vec<_> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        let json = format!("{{{}}}", json.join(","));
        let error = Stream::from_json(&json).expect_err(&json);
        assert!(!error.is_stored() && error.message().contains(field.trim_end_matches('s')), "{json}: {error}");
    }
    let unknown = Stream::from_json(r#"{"id":"a","type":"srt","x":NaN}"#).unwrap_err();
    assert!(unknown.message().contains("not a readable JSON object"), "{unknown}");
}

#[test]
fn number_from_a_caller_is_rounded_to_the_nearest_integer() {
    for (field, value, expected) in [
        ("bitrate", "1e3", 1_000),
        ("bitrate", "5467000.0000001", 5_467_000),
        ("bitrate", "-0.0", 0),
        ("bytes_received", "1.5", 2),
        ("bytes_received", "9223372036854775807.0", MAX_COUNT),
        ("packets_lost", "-3", 0),
        ("packets_lost", "-1e300", 0),
    ] {
        let stream = Stream::from_json(&format!(r#"{{"id":"a","type":"srt","{field}":{value}}}"#)).unwrap();
        assert_eq!(stream.bitrate + stream.bytes_received + stream.packets_lost, expected, "{field}: {value}");
        assert!(encode(&stream).contains(&format!("\"{field}\":{expected}")), "{field}: {value}");
    }
}

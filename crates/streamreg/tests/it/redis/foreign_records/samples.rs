//! Sample records of other programs.

/// Values that cannot be decoded as a record.
pub(super) const UNREADABLE: [&[u8]; 14] = [
    b"not json",
    b"[]",
    b"null",
    b"\"{}\"",
    b"5",
    b"{",
    b"{}{}",
    b"\x00\xff\xfe\x80",
    b"{\"a\":1,}",
    b"{\"id\":\"\xc3\x28\"}",
    b"\xef\xbb\xbf{\"id\":\"a\"}",
    b"{\"a\":\"\n\"}",
    b"{'id':'a'}",
    b" ",
];

/// Returns a record that is in canonical form up to `packets_lost` and then continues with `tail`.
pub(crate) fn ours(name: &str, tail: &str) -> String {
    let name = serde_json::to_string(name).unwrap();
    format!(
        r#"{{"id":{name},"type":"srt","source_addr":"203.0.113.7:40112","status":"connecting","created_at":"2026-11-22T14:08:10.921427415Z","last_heartbeat":"2026-11-22T14:08:10.921427496Z","video_codec":"HEVC","resolution":"1920x1080","bitrate":5000000,"frame_rate":59.94,"bytes_received":10,"packets_received":20,"packets_lost":30{tail}"#
    )
}

/// Returns all samples: typical records of other programs, and extreme records.
pub(super) fn samples(name: &str) -> Vec<String> {
    let mut all: Vec<String> = include_str!("../foreign-records.jsonl").lines().map(str::to_owned).collect();
    assert_eq!(all.len(), 5);
    // These records are canonical up to `packets_lost`. A change in place could corrupt the rest of such a record.
    let long = "x".repeat(60 * 1024);
    let deep = format!("{}{}", "[".repeat(63), "]".repeat(63));
    for tail in [
        "}",
        " }",
        "\n}",
        "}\n",
        ".0}",
        "e2}",
        "E+2}",
        ".5}",
        r#","node":"n1"}"#,
        r#","node":"n\"1\\","epoch":"0005-aa"}"#,
        r#","node":null}"#,
        r#","node":7}"#,
        r#","epoch":"00062b0c6a1d2f3a-9f86d081884c7d65"}"#,
        r#","node":"n1","epoch":"0005-aa","labels":{}}"#,
        r#","epoch":"0005-aa","node":"n1"}"#,
        r#","labels":{"a":"b"},"epoch":"0005-aa"}"#,
        r#","epoch":""}"#,
        r#","epoch":"a b"}"#,
        r#","epoch":"été"}"#,
        r#","epoch":3}"#,
        r#","epoch":null}"#,
        r#","epoch":"0005-aa","epoch":"0006-bb"}"#,
        r#","epo\u0063h":"0005-aa"}"#,
        r#","labels":{"a":"x}","b":"y"}}"#,
        r#","labels":{"a":"x},","b":"y"}}"#,
        r#","labels":{"a":"{","b":"}"}}"#,
        r#","labels":{"}":"a"}}"#,
        r#","labels":{"a":"\"}","b":"\\"}}"#,
        r#","labels":{"a":"1","a":"2"}}"#,
        r#","labels":{"rtt_ms":"5","viewers":"6","epoch":"x","status":"y","last_heartbeat":"z"}}"#,
        r#","labels":{"a":"\"last_heartbeat\":\"2020-01-01T00:00:00.000000000Z\""}}"#,
        r#","labels":{ "a" : "b" }}"#,
        r#","labels":{"a":1,"b":"x"}}"#,
        r#","labels":[]}"#,
        r#","labels":null}"#,
        r#","audio_codec":"AAC","rtt_ms":1.5,"jitter_ms":2,"packets_retransmitted":3,"packets_dropped":4,"viewers":5,"end_reason":"x"}"#,
        r#","viewers":5,"rtt_ms":1.5}"#,
        r#","rtt_ms":null,"viewers":null}"#,
        r#","rtt_ms":1e2,"viewers":1e2}"#,
        r#","rtt_ms":-1,"viewers":-5}"#,
        r#","rtt_ms":"1.5"}"#,
        r#","rtt_ms" : 1.5}"#,
        r#","rtt_ms":1,"rtt_ms":2}"#,
        r#","last_heartbeat":"2020-01-01T00:00:00Z"}"#,
        r#","last\u005fheartbeat":"2020-01-01T00:00:00Z"}"#,
        r#","st\u0061tus":"error"}"#,
        r#","status":"error"}"#,
        r#","bitrate":7}"#,
        r#","packets_lost":7}"#,
        r#","pack\u0065ts_lost":7}"#,
        r#","frame_rate":12}"#,
        r#","id":"other"}"#,
        r#","x":{"last_heartbeat":"no","status":[{}],"epoch":"e","bitrate":[]}}"#,
        r#","x":[],"y":{},"z":[[],{}],"w":[ ]}"#,
        r#","x":"\/ \u0041 \ud83d\ude00","y":"\ud800"}"#,
        r#","x":1e400,"y":-0.0,"z":123456789012345678901234567890,"w":1.10}"#,
        r#","x":1,"x":{"a":[1, 2]},"x":null}"#,
        r#","":"empty name","é":"📺"}"#,
    ] {
        all.push(ours(name, tail));
    }
    all.push(ours(name, &format!(r#","x":"{long}"}}"#)));
    all.push(ours(name, &format!(r#","x":{deep}}}"#)));
    let plain = ours(name, "}");
    for (from, to) in [
        ("\"id\"", "\"\\u0069d\""),
        ("\"last_heartbeat\"", "\"last\\u005fheartbeat\""),
        ("\"bitrate\":5000000", "\"bitrate\":-5"),
        ("\"bitrate\":5000000", "\"bitrate\":\"5\""),
        ("\"bytes_received\":10", "\"bytes_received\":9223372036854775807"),
        ("\"bytes_received\":10", "\"bytes_received\":18446744073709551616"),
        ("\"frame_rate\":59.94", "\"frame_rate\":-1"),
        ("\"frame_rate\":59.94", "\"frame_rate\":null"),
        ("\"frame_rate\":59.94", "\"frame_rate\":2.5e1"),
        ("2026-11-22T14:08:10.921427496Z", "2026-11-22T14:08:10Z"),
        ("2026-11-22T14:08:10.921427496Z", "yesterday"),
        ("2026-11-22T14:08:10.921427415Z", "2026-11-22T14:08:10.92142741599+01:00"),
        ("2026-11-22T14:08:10.921427415Z", "0001-01-01T00:00:00Z"),
        ("\"video_codec\":\"HEVC\"", "\"video_codec\":7"),
        ("\"resolution\":\"1920x1080\"", "\"resolution\":\"1920x1080\",\"resolution\":\"1x1\""),
        ("\"status\":\"connecting\"", "\"status\":\"on air now, quite long and with blanks in it\""),
        ("\"status\":\"connecting\"", "\"status\":null"),
        ("\"status\":\"connecting\"", "\"status\":\"\\u0061ctive\""),
        ("\"type\":\"srt\"", "\"type\":\"\""),
        ("203.0.113.7:40112", "[2001:db8::17]\\/5004"),
        ("203.0.113.7:40112", "\\ud800"),
        ("203.0.113.7:40112", ""),
        (",\"", " ,\n \""),
        ("\":", "\" : "),
    ] {
        assert!(plain.contains(from), "{from}");
        all.push(plain.replace(from, to));
    }
    for raw_json in [
        "{}",
        "{ }",
        r#"{"id":"somebody else"}"#,
        r#"{"id":5,"type":[],"status":{},"labels":"x","created_at":7,"last_heartbeat":false}"#,
        r#"{"note":"\"last_heartbeat\":\"2020-01-01T00:00:00Z\"","x":{"type":"rtp","source_addr":"no"},"source_addr":"h:1","type":"srt"}"#,
        r#"{"bytes_received":1.2345678901234e+14,"packets_received":1.5e6,"packets_lost":-5,"bitrate":0e5,"viewers":1e-3}"#,
        r#"{"status":"active","status":"closed","last_heartbeat":"2020-01-01T00:00:00Z","last_heartbeat":"x"}"#,
        r#"{"node":"","audio_codec":"","labels":{},"end_reason":"","video_codec":"","type":"webrtc","source_addr":"h:1"}"#,
        r#"{"type":"srt","source_addr":"h:1","node":"n1","epoch":"e1"}"#,
        r#"{"labels":{"a":1,"b":[],"c":"x","d":null}}"#,
        r#"{"audio_codec":5,"video_codec":null,"frame_rate":"25","rtt_ms":-3,"resolution":[1920,1080]}"#,
    ] {
        all.push(raw_json.to_owned());
    }
    all
}

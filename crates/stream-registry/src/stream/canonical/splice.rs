//! Changes of canonical JSON without decoding and encoding the whole record.

use super::Parser;
use crate::stream::encode::push_json_float;
use crate::stream::{Epoch, StreamStats, Timestamp};

/// Returns canonical JSON after a heartbeat or statistics of the holder of a lease. All other values stay byte for
/// byte.
///
/// Returns `None` if the JSON is not canonical, if the record has another epoch, or for statistics that only some
/// records have. The caller then decodes and encodes the record, which takes several times as many instructions.
pub(crate) fn splice(json: &str, epoch: &Epoch, stats: &StreamStats, now: Timestamp) -> Option<String> {
    // The pattern is exhaustive, so that the compiler reports a new statistic.
    let StreamStats {
        bytes_received,
        packets_received,
        packets_lost,
        bitrate,
        frame_rate,
        rtt_ms: None,
        jitter_ms: None,
        packets_retransmitted: None,
        packets_dropped: None,
        viewers: None,
    } = *stats
    else {
        return None;
    };
    let mut parser = Parser { json, position: 0 };
    for name in ["{\"id\":", ",\"type\":", ",\"source_addr\":", ",\"status\":", ",\"created_at\":"] {
        parser.literal(name)?;
        parser.string()?;
    }
    parser.literal(",\"last_heartbeat\":")?;
    let mut spliced = String::with_capacity(json.len() + 64);
    spliced.push_str(&json[..parser.position]);
    spliced.push('"');
    now.append_to(&mut spliced);
    spliced.push('"');
    parser.string()?;
    let kept = parser.position;
    for name in [",\"video_codec\":", ",\"resolution\":"] {
        parser.literal(name)?;
        parser.string()?;
    }
    spliced.push_str(&json[kept..parser.position]);
    let push_count = |spliced: &mut String, count| spliced.push_str(itoa::Buffer::new().format::<u64>(count));
    parser.replace(&mut spliced, ",\"bitrate\":", bitrate, push_count)?;
    parser.replace(&mut spliced, ",\"frame_rate\":", frame_rate, push_json_float)?;
    parser.replace(&mut spliced, ",\"bytes_received\":", bytes_received, push_count)?;
    parser.replace(&mut spliced, ",\"packets_received\":", packets_received, push_count)?;
    parser.replace(&mut spliced, ",\"packets_lost\":", packets_lost, push_count)?;
    spliced.push_str(&json[parser.position..]);
    // The rest must be canonical, because a field that occurs twice could change a value above.
    parser.optional(",\"node\":", Parser::string)?;
    parser.literal(",\"epoch\":")?;
    if parser.string()? != epoch.as_str() {
        return None;
    }
    parser.optional(",\"labels\":", |parser| parser.labels(|_, _| {}))?;
    parser.optional(",\"audio_codec\":", Parser::string)?;
    for name in
        [",\"rtt_ms\":", ",\"jitter_ms\":", ",\"packets_retransmitted\":", ",\"packets_dropped\":", ",\"viewers\":"]
    {
        parser.optional(name, |parser| Some(parser.number()))?;
    }
    parser.optional(",\"end_reason\":", Parser::string)?;
    parser.literal("}")?;
    (parser.position == json.len()).then_some(spliced)
}

impl Parser<'_> {
    /// Reads a field with a number, and appends it to `out` with its new value. Without a new value, appends it
    /// unchanged.
    fn replace<T>(&mut self, out: &mut String, name: &str, new: Option<T>, push: fn(&mut String, T)) -> Option<()> {
        let start = self.position;
        self.literal(name)?;
        self.number();
        match new {
            Some(new) => {
                out.push_str(name);
                push(out, new);
            }
            None => out.push_str(&self.json[start..self.position]),
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::canonical::decode;

    #[test]
    fn splice_agrees_with_decoding_and_encoding() {
        let id = "cam".parse().unwrap();
        let epoch = "0005-aa".parse().unwrap();
        let now = "2030-01-01T00:00:00.000000001Z".parse().unwrap();
        let minimal = r#"{"id":"cam","type":"srt","source_addr":"h:1","status":"active","created_at":"2026-11-30T10:00:00.000000000Z","last_heartbeat":"2026-11-30T10:00:00.000000000Z","video_codec":"","resolution":"","bitrate":0,"frame_rate":29.97,"bytes_received":1,"packets_received":2,"packets_lost":3,"epoch":"0005-aa"}"#;
        let full = minimal.replace(r#","epoch":"0005-aa"}"#, r#","node":"n","epoch":"0005-aa","labels":{"a":"b","bitrate":"5"},"audio_codec":"AAC","rtt_ms":1.5,"jitter_ms":0.25,"packets_retransmitted":4,"packets_dropped":5,"viewers":6,"end_reason":"over"}"#);
        let totals = StreamStats {
            bytes_received: Some(u64::MAX / 2),
            packets_received: Some(0),
            packets_lost: Some(10),
            bitrate: Some(5_000_000),
            ..StreamStats::default()
        };
        let all = StreamStats { frame_rate: Some(50.0), ..totals };
        for json in [minimal, &full] {
            for stats in [StreamStats::default(), totals.clone(), all.clone()] {
                let mut expected = decode(Some(&id), json).unwrap();
                expected.update_stats(&stats);
                expected.last_heartbeat = now;
                assert_eq!(splice(json, &epoch, &stats, now).unwrap(), expected.to_stored_json());
            }
            let viewers = StreamStats { viewers: Some(7), ..StreamStats::default() };
            assert_eq!(splice(json, &epoch, &viewers, now), None);
            assert_eq!(splice(json, &"0005-ab".parse().unwrap(), &totals, now), None, "another lease");
            // A duplicate or unknown field, a field in another place, an escape, a space, and a missing part.
            for changed in [
                json.replace(r#"}"#, r#","bitrate":7}"#),
                json.replace(r#"}"#, r#","rack":7}"#),
                json.replace(r#","epoch":"0005-aa""#, ""),
                json.replace(r#""id":"cam","type":"srt""#, r#""type":"srt","id":"cam""#),
                json.replace("h:1", "h\\u003a1"),
                json.replace(r#","video"#, r#", "video"#),
                json.replace(r#""bitrate":0"#, r#""bitrate":null"#),
                json[..json.len() - 1].to_owned(),
                format!("{json} "),
            ] {
                assert_eq!(splice(&changed, &epoch, &totals, now), None, "{changed}");
            }
        }
    }
}

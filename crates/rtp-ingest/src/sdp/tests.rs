use super::*;

/// A session description that ffmpeg 5.1 wrote with `-sdp_file`.
const FFMPEG: &str = "SDP:\nv=0\no=- 0 0 IN IP4 127.0.0.1\ns=No Name\nc=IN IP4 127.0.0.1\nt=0 0\na=tool:libavformat LIBAVFORMAT_VERSION\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\na=fmtp:96 packetization-mode=1\n";

fn video(codec: &str, resolution: &str, frame_rate: f64) -> Description {
    Description {
        video_codec: codec.to_owned(),
        resolution: resolution.to_owned(),
        frame_rate,
        clock_rate: 90_000,
        ..Description::default()
    }
}

fn audio(codec: &str, clock_rate: u32) -> Description {
    Description { audio_codec: codec.to_owned(), clock_rate, ..Description::default() }
}

#[test]
fn describe_returns_codec_size_and_rates_for_common_descriptions() {
    for (case, sdp, payload_type, expected) in [
        ("ffmpeg", FFMPEG, 96, video("H264", "", 0.0)),
        ("CR LF", "m=video 5004 RTP/AVP 96\r\na=rtpmap:96 H265/90000\r\n", 96, video("HEVC", "", 0.0)),
        ("lower case", "m=video 5004 RTP/AVP 96\na=rtpmap:96 vp8/90000", 96, video("VP8", "", 0.0)),
        (
            "frame rate and size",
            "m=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\na=framerate:29.97\na=framesize:96 1920-1080",
            96,
            video("H264", "1920x1080", 29.97),
        ),
        (
            "attributes before rtpmap, spaces, QuickTime's dimensions",
            "m=video 5004 RTP/AVP 96\n a=framerate: 25 \na=x-dimensions:640,480\na=rtpmap:96  H264/90000 ",
            96,
            video("H264", "640x480", 25.0),
        ),
        (
            "raw video (RFC 4175)",
            "m=video 5004 RTP/AVP 112\na=rtpmap:112 raw/90000\na=fmtp:112 sampling=YCbCr-4:2:2; width=1280; height=720; exactframerate=60000/1001; depth=10",
            112,
            video("RAW", "1280x720", 60_000.0 / 1_001.0),
        ),
        (
            "AAC",
            "m=audio 5006 RTP/AVP 97\na=rtpmap:97 MPEG4-GENERIC/44100/2\na=fmtp:97 profile-level-id=1;mode=AAC-hbr",
            97,
            audio("AAC", 44_100),
        ),
        ("Opus", "m=audio 5006 RTP/AVPF 111\na=rtpmap:111 opus/48000/2", 111, audio("OPUS", 48_000)),
        ("audio has no frame rate", "m=audio 5006 RTP/AVP 8\na=framerate:25", 8, audio("PCMA", 8_000)),
        ("static type without rtpmap", "m=video 5004 RTP/AVP 26", 26, video("JPEG", "", 0.0)),
        ("static type with a different rtpmap", "m=audio 5004 RTP/AVP 0\na=rtpmap:0 X/16000", 0, audio("X", 16_000)),
        ("static type that the description does not list", FFMPEG, 0, audio("PCMU", 8_000)),
        ("empty description", "", 34, video("H263", "", 0.0)),
        (
            "transport stream has no codec name",
            "m=video 5004 RTP/AVP 33",
            33,
            Description { clock_rate: 90_000, ..Description::default() },
        ),
        (
            "rtpmap of a type that m= does not list",
            "m=video 1 RTP/AVP 96\na=rtpmap:97 AV1/90000",
            97,
            video("AV1", "", 0.0),
        ),
        ("unknown dynamic type", FFMPEG, 97, Description::default()),
    ] {
        assert_eq!(Sdp::parse(sdp).describe(payload_type, 5004), expected, "{case}");
    }
}

#[test]
fn describe_prefers_the_section_with_the_port() {
    let sdp = Sdp::parse(
        "m=audio 5006/2 RTP/AVP 96\na=rtpmap:96 opus/48000/2\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000",
    );
    assert_eq!(sdp.describe(96, 5004).video_codec, "H264");
    assert_eq!(sdp.describe(96, 5006).audio_codec, "OPUS");
    assert_eq!(sdp.describe(96, 5008).audio_codec, "OPUS", "no section has the port, so the first section applies");
}

#[test]
fn parse_skips_invalid_lines() {
    for line in [
        "",
        "m=",
        "m=video",
        "m=video 99999999 RTP/AVP 96",
        "m=video 5004 RTP/AVP x 300 -1 128",
        "a=rtpmap:",
        "a=rtpmap:96",
        "a=rtpmap:300 H264/90000",
        "a=rtpmap:128 H264/90000",
        "a=rtpmap:x H264/90000",
        "a=framerate:",
        "a=framerate:NaN",
        "a=framerate:inf",
        "a=framerate:-25",
        "a=framerate:0",
        "a=framerate:30/0",
        "a=framerate:1e300",
        "a=framesize:96",
        "a=framesize:96 0-240",
        "a=framesize:96 99999999999-240",
        "a=framesize:96 320",
        "a=x-dimensions:,",
        "a=fmtp:96",
        "a=fmtp:96 width=;height=1",
        "a=fmtp:96 ;;;=;",
        "a=fmtp:96 exactframerate=nan",
        "a=",
        "a",
        "\u{0}\u{fffd}",
        "x=:::::",
    ] {
        let sdp = format!("m=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n{line}\n");
        let description = Sdp::parse(&sdp).describe(96, 5004);
        if !line.starts_with("m=") && line != "a=rtpmap:96" {
            assert_eq!(description, video("H264", "", 0.0), "{line:?}");
        }
        Sdp::parse(line).describe(96, 5004);
    }
}

#[test]
fn parse_rejects_long_names_control_characters_and_large_clock_rates() {
    let long = format!("m=video 1 RTP/AVP 96\na=rtpmap:96 {}/90000", "H".repeat(65));
    assert_eq!(Sdp::parse(&long).describe(96, 1), Description::default());
    let control = "m=video 1 RTP/AVP 96\na=rtpmap:96 H\u{1b}[31m264/90000";
    assert_eq!(Sdp::parse(control).describe(96, 1), Description::default());
    let clock = "m=video 1 RTP/AVP 96\na=rtpmap:96 H264/99999999999";
    assert_eq!(Sdp::parse(clock).describe(96, 1).clock_rate, 0);
}

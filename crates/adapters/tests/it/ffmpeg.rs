//! ffmpeg: its progress and its log.

use std::time::Duration;

use adapters::model::{Item, ItemState, Media};
use adapters::tools::ffmpeg::Ffmpeg;
use adapters::tools::{Lines, Tool};

use crate::captures;
use crate::mutate;

fn tool(args: &str) -> Ffmpeg {
    Ffmpeg::new(&args.split(' ').map(str::to_owned).collect::<Vec<_>>()).unwrap()
}

fn capture(name: &str) -> Vec<String> {
    Lines::default().push(captures::read("ffmpeg", name).text.as_bytes())
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Reads a log and returns what it says about the media.
fn media(log: &str) -> Media {
    let mut tool = tool("-i a");
    Lines::default().push(log.as_bytes()).iter().for_each(|line| tool.log(Duration::ZERO, line));
    tool.stream(Duration::ZERO).unwrap().media
}

/// Returns a block of the progress.
fn block(frame: u64, speed: &str) -> [String; 4] {
    [format!("frame={frame}"), "total_size=N/A".to_owned(), format!("speed={speed}"), "progress=continue".to_owned()]
}

fn feed(tool: &mut Ffmpeg, at: u64, frame: u64, speed: &str) -> Item {
    block(frame, speed).iter().for_each(|line| tool.statistics(seconds(at), line));
    tool.stream(seconds(at)).unwrap()
}

#[test]
fn recorded_run_has_the_codecs_of_its_input_and_the_size_of_its_output() {
    let mut tool = tool("-i srt://203.0.113.7:29200?mode=caller -c copy -f mpegts /dev/null");
    assert_eq!(tool.stream(Duration::ZERO).unwrap().state, ItemState::Connecting);
    capture("log.txt").iter().for_each(|line| tool.log(Duration::ZERO, line));
    capture("progress.txt").iter().for_each(|line| tool.statistics(seconds(1), line));
    let item = tool.stream(seconds(1)).unwrap();
    assert_eq!((item.kind.as_str(), &*item.source_addr), ("srt", "203.0.113.7:29200"));
    assert_eq!(item.state, ItemState::Active);
    let media =
        Media { video_codec: "H264".into(), resolution: "640x360".into(), frame_rate: 25.0, audio_codec: "AAC".into() };
    assert_eq!(item.media, media);
    assert_eq!((item.counters.bytes, item.gauges.bitrate), (Some(969_328), Some(773_100)));
    assert_eq!(item.counters.packets, None);
}

#[test]
fn progress_that_does_not_change_for_10_s_is_paused() {
    let mut tool = tool("-i a");
    assert_eq!(feed(&mut tool, 0, 0, "0x").state, ItemState::Connecting);
    assert_eq!(feed(&mut tool, 30, 1, "1x").state, ItemState::Active);
    assert_eq!(feed(&mut tool, 39, 1, "1x").state, ItemState::Active);
    assert_eq!(feed(&mut tool, 40, 1, "1x").state, ItemState::Paused);
    assert_eq!(feed(&mut tool, 41, 2, "1x").state, ItemState::Active);
    assert_eq!(tool.stream(seconds(51)).unwrap().state, ItemState::Paused, "a blocked ffmpeg writes nothing");
}

#[test]
fn speed_changes_its_label_by_more_than_a_step_and_at_most_every_10_s() {
    let mut tool = tool("-i a");
    let mut label = |at, speed| feed(&mut tool, at, at, speed).labels.get("speed").cloned();
    assert_eq!(label(1, "N/A"), None);
    assert_eq!(label(2, "2.5x"), Some("2.50x".into()));
    assert_eq!(label(5, "   1x"), Some("2.50x".into()));
    assert_eq!(label(12, "   1x"), Some("1.00x".into()));
    assert_eq!(label(30, "1.04x"), Some("1.00x".into()));
    assert_eq!(label(31, "1.06x"), Some("1.06x".into()));
    assert_eq!(label(50, "N/A"), Some("1.06x".into()));
}

#[test]
fn first_input_gives_type_and_address() {
    for (args, kind, address) in [
        ("-re -i rtmp://u:secret@media.example/live/key -f flv rtmp://b/x", "rtmp", "media.example:1935"),
        ("-listen 1 -i rtmp://0.0.0.0:1935/live -i srt://203.0.113.7:1 x", "rtmp", ""),
        ("-rtsp_flags listen -i rtsp://0.0.0.0:8554/live x", "rtsp", ""),
        ("-mode listener -i srt://0.0.0.0:9000 x", "srt", ""),
        ("-i srt://:9000?mode=listener x", "srt", ""),
        ("-f v4l2 -framerate 30 -i /dev/video0 x", "v4l2", ""),
        ("-re -i movie.mp4 -f mpegts srt://203.0.113.7:9000", "file", ""),
        ("-i", "file", ""),
        ("-version", "file", ""),
    ] {
        let item = tool(args).stream(Duration::ZERO).unwrap();
        assert_eq!((item.kind.as_str(), &*item.source_addr), (kind, address), "{args}");
    }
}

#[test]
fn log_of_other_containers_and_codecs_is_read() {
    let log = "Input #0, mov,mp4, from 'a':\n  Metadata:\n    title           : Stream #0:0: Video: fake, 1x1, 9 fps\n\
               \x20 Stream #0:0[0x1](und): Video: hevc (Main) (hvc1 / 0x31637668), yuv420p(tv), 3840x2160 [SAR 1:1 DAR 16:9], 5 kb/s, 29.97 fps, 30 tbr (default)\n\
               \x20 Stream #0:1: Audio: opus, 48000 Hz, stereo, fltp\n  Stream #0:2: Video: mjpeg, yuvj420p, 8x8, 1 fps (attached pic)\n\
               Input #1, x, from 'b':\n  Stream #0:9: Video: h264, 2x2, 2 fps\n";
    let expected = Media {
        video_codec: "H265".into(),
        resolution: "3840x2160".into(),
        frame_rate: 29.97,
        audio_codec: "Opus".into(),
    };
    assert_eq!(media(log), expected);
    assert_eq!(media("Output #0, x, to 'b':\n  Stream #0:0: Video: h264, 2x2, 2 fps\n"), Media::default());
}

#[test]
fn hostile_log_and_progress_leave_only_legal_values() {
    for text in [
        "Input #0, x, from 'a':\nStream #0:: Video: \u{1b}[31m, 0x0, 99999999999999999999x1, NaN fps, inf fps, -1 fps\n",
        "Input #0, x, from 'a':\nStream #0:0: Video: none\nStream #0:0: Video: , x, x1, 1x\n",
        "Input #0, x, from 'a':\nStream #0:0: Audio: ä\nStream #0:\n",
    ] {
        assert_eq!(media(text), Media::default(), "{text}");
    }
    let mut tool = tool("-i a");
    for line in ["bitrate=-5kbits/s", "bitrate=NaNkbits/s", "total_size=-1", "fps=inf", "speed=-1x", "=", "progress="] {
        tool.statistics(seconds(1), line);
    }
    let item = tool.stream(seconds(1)).unwrap();
    assert_eq!((item.counters.bytes, item.gauges.bitrate, item.media), (None, None, Media::default()));
    assert!(item.labels.is_empty());
}

#[test]
fn truncated_log_and_progress_are_read_in_part() {
    let (log, progress) = (captures::read("ffmpeg", "log.txt").text, captures::read("ffmpeg", "progress.txt").text);
    for part in mutate::prefixes(log.as_bytes()) {
        let video = media(&String::from_utf8_lossy(part)).video_codec;
        assert!(video.is_empty() || video == "H264", "{video}");
    }
    for part in mutate::prefixes(progress.as_bytes()) {
        let mut tool = tool("-i a");
        Lines::default().push(part).iter().for_each(|line| tool.statistics(seconds(1), line));
        assert!(tool.stream(seconds(1)).unwrap().counters.bytes <= Some(969_328));
    }
}

#[test]
fn progress_option_is_added_unless_it_is_given() {
    assert_eq!(tool("-i a").options("/dev/fd/9"), ["-progress", "/dev/fd/9"]);
    let error = Ffmpeg::new(&["-progress".to_owned(), "x".to_owned()]).unwrap_err().to_string();
    assert_eq!(error, "-progress is set by streamreg, which reads the statistics; remove the option");
}

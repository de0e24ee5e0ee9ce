//! Descriptive fields and labels.

use std::collections::BTreeMap;
use std::time::Duration;

use super::case::{Case, Check, ensure, fails, full, id, same, stream};
use super::declare;
use crate::error::ErrorKind;
use crate::stream::{LabelsPatch, StreamPatch};

declare! {
    "patch", Long: [
        sets_what_is_given_and_nothing_else,
        of_nothing_is_a_heartbeat,
        of_empty_clears,
        merges_labels,
        replaces_labels,
        finds_no_stream_to_patch,
        of_another_node_makes_another_publisher,
    ],
}

async fn patched(case: &Case, patch: &StreamPatch) -> Check {
    let mut should = case.get("a").await?;
    case.instance.advance(Duration::from_millis(20)).await;
    case.registry().patch(&id("a"), patch).await?;
    let now = case.get("a").await?;
    ensure(now.last_heartbeat > should.last_heartbeat, "last_heartbeat does not move")?;
    should.last_heartbeat = now.last_heartbeat;
    should.apply_patch(patch);
    same("the record", now.to_json(), should.to_json())
}

async fn sets_what_is_given_and_nothing_else(case: &Case) -> Check {
    case.put(&full("a")).await?;
    let text = |text: &str| Some(text.to_owned());
    for patch in [
        StreamPatch { video_codec: text("AV1"), ..Default::default() },
        StreamPatch { resolution: text("1280x720"), ..Default::default() },
        StreamPatch { frame_rate: Some(25.0), ..Default::default() },
        StreamPatch { audio_codec: text("Opus"), ..Default::default() },
        StreamPatch { node: text("ingest-2"), ..Default::default() },
        StreamPatch::default().label("event", "final"),
    ] {
        patched(case, &patch).await?;
    }
    let now = case.get("a").await?;
    same("codec and size", (now.video_codec.as_str(), now.resolution.as_str()), ("AV1", "1280x720"))?;
    same("audio and node", (now.audio_codec.as_deref(), now.node.as_deref()), (Some("Opus"), Some("ingest-2")))?;
    same("the label", now.labels.get("event").map(String::as_str), Some("final"))?;
    same("the number of labels", now.labels.len(), 2)
}

async fn of_nothing_is_a_heartbeat(case: &Case) -> Check {
    case.put(&full("a")).await?;
    patched(case, &StreamPatch::default()).await
}

async fn of_empty_clears(case: &Case) -> Check {
    case.put(&full("a")).await?;
    let empty = Some(String::new());
    let patch = StreamPatch {
        video_codec: empty.clone(),
        resolution: empty.clone(),
        frame_rate: Some(0.0),
        audio_codec: empty.clone(),
        node: empty,
        labels: LabelsPatch::Replace(BTreeMap::new()),
    };
    patched(case, &patch).await?;
    let now = case.get("a").await?;
    same("the texts", (now.video_codec.as_str(), now.resolution.as_str(), now.frame_rate), ("", "", 0.0))?;
    same("the optional ones", (now.audio_codec.clone(), now.node.clone(), now.labels.len()), (None, None, 0))?;
    let json = now.to_json();
    ensure(!json.contains("\"labels\"") && !json.contains("\"node\""), "what was cleared is still written")
}

async fn merges_labels(case: &Case) -> Check {
    let mut given = full("a");
    given.labels.insert("stays".to_owned(), "as it is".to_owned());
    case.put(&given).await?;
    let text = |text: &str| Some(text.to_owned());
    let merge = BTreeMap::from([
        ("event".to_owned(), None),
        ("tenant".to_owned(), text("zenith")),
        ("new".to_owned(), text("")),
        ("unknown".to_owned(), None),
    ]);
    patched(case, &StreamPatch { labels: LabelsPatch::Merge(merge), ..Default::default() }).await?;
    let should = [("new", ""), ("stays", "as it is"), ("tenant", "zenith")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    same("the labels", case.get("a").await?.labels, BTreeMap::from(should))
}

async fn replaces_labels(case: &Case) -> Check {
    case.put(&full("a")).await?;
    let labels = BTreeMap::from([("only".to_owned(), "one".to_owned())]);
    let patch = StreamPatch { labels: LabelsPatch::Replace(labels.clone()), ..Default::default() };
    patched(case, &patch).await?;
    same("the labels", case.get("a").await?.labels, labels)
}

async fn finds_no_stream_to_patch(case: &Case) -> Check {
    let patch = StreamPatch::default().label("a", "b");
    fails(case.registry().patch(&id("never"), &patch).await, ErrorKind::NotFound)?;
    case.is_gone("never").await
}

async fn of_another_node_makes_another_publisher(case: &Case) -> Check {
    let mut given = stream("a");
    given.node = Some("ingest-1".to_owned());
    case.put(&given).await?;
    let patch = StreamPatch { node: Some("ingest-2".to_owned()), ..Default::default() };
    case.registry().patch(&id("a"), &patch).await?;
    fails(case.registry().register(&given).await, ErrorKind::AlreadyExists)?;
    given.node = Some("ingest-2".to_owned());
    case.put(&given).await?;
    Ok(())
}

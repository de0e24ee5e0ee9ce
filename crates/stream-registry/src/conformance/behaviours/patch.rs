//! Patches of descriptive fields and labels.

use std::collections::BTreeMap;
use std::time::Duration;

use super::case::{Case, Check, ensure, fails, full, id, same, stream};
use super::declare;
use crate::error::ErrorKind;
use crate::stream::{LabelsPatch, StreamPatch};

declare! {
    "patch", Long: [
        patch_sets_only_the_given_fields,
        empty_patch_acts_as_a_heartbeat,
        empty_values_in_a_patch_clear_the_fields,
        patch_can_merge_labels,
        patch_can_replace_all_labels,
        patch_returns_not_found_without_a_live_stream,
        patch_of_the_node_changes_the_publisher,
    ],
}

async fn assert_patched(case: &Case, patch: &StreamPatch) -> Check {
    let mut expected = case.get("a").await?;
    case.instance.advance(Duration::from_millis(20)).await;
    case.registry().patch(&id("a"), patch).await?;
    let now = case.get("a").await?;
    ensure(now.last_heartbeat > expected.last_heartbeat, "last_heartbeat does not advance")?;
    expected.last_heartbeat = now.last_heartbeat;
    expected.apply_patch(patch);
    same("the record", now.to_json(), expected.to_json())
}

async fn patch_sets_only_the_given_fields(case: &Case) -> Check {
    case.put(&full("a")).await?;
    let some = |string: &str| Some(string.to_owned());
    for patch in [
        StreamPatch { video_codec: some("AV1"), ..Default::default() },
        StreamPatch { resolution: some("1280x720"), ..Default::default() },
        StreamPatch { frame_rate: Some(25.0), ..Default::default() },
        StreamPatch { audio_codec: some("Opus"), ..Default::default() },
        StreamPatch { node: some("ingest-2"), ..Default::default() },
        StreamPatch::default().label("event", "final"),
    ] {
        assert_patched(case, &patch).await?;
    }
    let now = case.get("a").await?;
    same("codec and size", (now.video_codec.as_str(), now.resolution.as_str()), ("AV1", "1280x720"))?;
    same("audio and node", (now.audio_codec.as_deref(), now.node.as_deref()), (Some("Opus"), Some("ingest-2")))?;
    same("the label", now.labels.get("event").map(String::as_str), Some("final"))?;
    same("the number of labels", now.labels.len(), 2)
}

async fn empty_patch_acts_as_a_heartbeat(case: &Case) -> Check {
    case.put(&full("a")).await?;
    assert_patched(case, &StreamPatch::default()).await
}

async fn empty_values_in_a_patch_clear_the_fields(case: &Case) -> Check {
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
    assert_patched(case, &patch).await?;
    let now = case.get("a").await?;
    same("the strings", (now.video_codec.as_str(), now.resolution.as_str(), now.frame_rate), ("", "", 0.0))?;
    same("the optional fields", (now.audio_codec.clone(), now.node.clone(), now.labels.len()), (None, None, 0))?;
    let json = now.to_json();
    ensure(!json.contains("\"labels\"") && !json.contains("\"node\""), "cleared fields are still encoded")
}

async fn patch_can_merge_labels(case: &Case) -> Check {
    let mut given = full("a");
    given.labels.insert("stays".to_owned(), "as it is".to_owned());
    case.put(&given).await?;
    let some = |string: &str| Some(string.to_owned());
    let merge = BTreeMap::from([
        ("event".to_owned(), None),
        ("tenant".to_owned(), some("zenith")),
        ("new".to_owned(), some("")),
        ("unknown".to_owned(), None),
    ]);
    assert_patched(case, &StreamPatch { labels: LabelsPatch::Merge(merge), ..Default::default() }).await?;
    let expected = [("new", ""), ("stays", "as it is"), ("tenant", "zenith")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    same("the labels", case.get("a").await?.labels, BTreeMap::from(expected))
}

async fn patch_can_replace_all_labels(case: &Case) -> Check {
    case.put(&full("a")).await?;
    let labels = BTreeMap::from([("only".to_owned(), "one".to_owned())]);
    let patch = StreamPatch { labels: LabelsPatch::Replace(labels.clone()), ..Default::default() };
    assert_patched(case, &patch).await?;
    same("the labels", case.get("a").await?.labels, labels)
}

async fn patch_returns_not_found_without_a_live_stream(case: &Case) -> Check {
    let patch = StreamPatch::default().label("a", "b");
    fails(case.registry().patch(&id("never"), &patch).await, ErrorKind::NotFound)?;
    case.assert_gone("never").await
}

async fn patch_of_the_node_changes_the_publisher(case: &Case) -> Check {
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

//! Changes of descriptive fields. When a stream is registered, some of these fields are often still unknown, e.g.
//! the codec.

use std::collections::BTreeMap;

use super::invalid::Result;
use super::{Stream, check};

/// A change of descriptive fields. `None` leaves a field unchanged; an empty string or 0 clears the field.
///
/// ```
/// use stream_registry::{Stream, StreamPatch, StreamType};
///
/// let mut stream = Stream::new("cam1".parse()?, StreamType::Srt, "203.0.113.7:40112");
/// let patch = StreamPatch { video_codec: Some("HEVC".into()), ..Default::default() }.label("tenant", "acme");
/// stream.apply_patch(&patch);
/// assert_eq!((&*stream.video_codec, &*stream.labels["tenant"]), ("HEVC", "acme"));
/// # Ok::<(), stream_registry::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StreamPatch {
    /// Video codec, e.g. `HEVC`; empty if unknown.
    pub video_codec: Option<String>,
    /// Width and height, e.g. `1920x1080`; empty if unknown.
    pub resolution: Option<String>,
    /// Frames per second; 0 if unknown.
    pub frame_rate: Option<f64>,
    /// Audio codec; an empty string removes the codec.
    pub audio_codec: Option<String>,
    /// The ingest node that owns the stream; an empty string removes the node.
    pub node: Option<String>,
    /// The change of the labels.
    pub labels: LabelsPatch,
}

/// A change of labels.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum LabelsPatch {
    /// Keeps all labels.
    #[default]
    Keep,
    /// Sets these labels, removes labels whose value is `None`, and keeps all other labels.
    Merge(BTreeMap<String, Option<String>>),
    /// Replaces all labels with these; an empty map removes all labels.
    Replace(BTreeMap<String, String>),
}

impl StreamPatch {
    /// Sets one label and keeps the others.
    #[must_use]
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        match &mut self.labels {
            LabelsPatch::Merge(labels) => {
                labels.insert(name.into(), Some(value.into()));
            }
            LabelsPatch::Replace(labels) => {
                labels.insert(name.into(), value.into());
            }
            LabelsPatch::Keep => {
                self.labels = LabelsPatch::Merge(BTreeMap::from([(name.into(), Some(value.into()))]));
            }
        }
        self
    }

    /// Returns whether the patch changes nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Checks the limits of every field that is set.
    ///
    /// # Errors
    ///
    /// Returns [`InvalidValue`](super::InvalidValue) if a field is outside its limits; the message names the field.
    pub fn check(&self) -> Result<()> {
        // The pattern is exhaustive, so that the compiler reports a new field that is not checked.
        let Self { video_codec, resolution, frame_rate, audio_codec, node, labels } = self;
        check::string("video_codec", video_codec.as_deref().unwrap_or(""))?;
        check::string("resolution", resolution.as_deref().unwrap_or(""))?;
        check::string("audio_codec", audio_codec.as_deref().unwrap_or(""))?;
        check::string("node", node.as_deref().unwrap_or(""))?;
        check::float("frame_rate", frame_rate.unwrap_or(0.0))?;
        match labels {
            LabelsPatch::Keep => Ok(()),
            LabelsPatch::Merge(labels) => {
                for (name, value) in labels {
                    check::label(name, value.as_deref().unwrap_or(""))?;
                }
                check::label_count(labels.values().flatten().count())
            }
            LabelsPatch::Replace(labels) => {
                for (name, value) in labels {
                    check::label(name, value)?;
                }
                check::label_count(labels.len())
            }
        }
    }
}

impl Stream {
    /// Applies a patch. If a field of the patch is `None`, the stream keeps its previous value.
    pub fn apply_patch(&mut self, patch: &StreamPatch) {
        // The pattern is exhaustive, so that the compiler reports a new field that is not applied.
        let StreamPatch { video_codec, resolution, frame_rate, audio_codec, node, labels } = patch;
        let none_if_empty = |string: &String| Some(string.clone()).filter(|string| !string.is_empty());
        let extra = &mut self.extra;
        extra.set_if_some("video_codec", &mut self.video_codec, video_codec.clone());
        extra.set_if_some("resolution", &mut self.resolution, resolution.clone());
        extra.set_if_some("frame_rate", &mut self.frame_rate, *frame_rate);
        extra.set_if_some("audio_codec", &mut self.audio_codec, audio_codec.as_ref().map(none_if_empty));
        extra.set_if_some("node", &mut self.node, node.as_ref().map(none_if_empty));
        match labels {
            LabelsPatch::Keep => {}
            LabelsPatch::Replace(labels) => {
                extra.discard_nonconforming(&["labels"]);
                self.labels.clone_from(labels);
            }
            LabelsPatch::Merge(labels) => {
                extra.discard_labels(labels.keys());
                for (name, value) in labels {
                    match value {
                        Some(value) => self.labels.insert(name.clone(), value.clone()),
                        None => self.labels.remove(name),
                    };
                }
            }
        }
    }
}

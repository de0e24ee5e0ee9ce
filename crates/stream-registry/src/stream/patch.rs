//! What is found out about a stream after it was registered.

use std::collections::BTreeMap;

use super::invalid::{InvalidValue, Result};
use super::stats::check_float;
use super::{check_label, check_text, limits};

/// A change of descriptive fields: `None` leaves a field alone, `Some` of empty clears it.
///
/// ```
/// use stream_registry::StreamPatch;
/// let patch = StreamPatch { video_codec: Some("HEVC".into()), ..Default::default() }.label("tenant", "acme");
/// assert!(!patch.is_empty());
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StreamPatch {
    /// Video codec, `HEVC` say; empty when unknown.
    pub video_codec: Option<String>,
    /// Width and height, `1920x1080` say; empty when unknown.
    pub resolution: Option<String>,
    /// Frames per second; 0 when unknown.
    pub frame_rate: Option<f64>,
    /// Audio codec; empty removes it.
    pub audio_codec: Option<String>,
    /// The ingest node that owns the stream; empty removes it.
    pub node: Option<String>,
    /// What happens to the labels.
    pub labels: LabelsPatch,
}

/// A change of labels.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum LabelsPatch {
    /// All labels stay as they are.
    #[default]
    Keep,
    /// These labels are set, or removed where `None`; the others stay.
    Merge(BTreeMap<String, Option<String>>),
    /// These labels and no others; an empty map removes all.
    Replace(BTreeMap<String, String>),
}

impl StreamPatch {
    /// Sets one label; the others stay as they are.
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

    /// Checks the limits of every field that is given.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` names the field.
    pub fn check(&self) -> Result<()> {
        let texts = [
            ("video_codec", &self.video_codec),
            ("resolution", &self.resolution),
            ("audio_codec", &self.audio_codec),
            ("node", &self.node),
        ];
        for (name, text) in texts {
            check_text(name, text.as_deref().unwrap_or(""))?;
        }
        check_float("frame_rate", self.frame_rate.unwrap_or(0.0))?;
        let count = match &self.labels {
            LabelsPatch::Keep => 0,
            LabelsPatch::Merge(labels) => {
                for (name, value) in labels {
                    check_label(name, value.as_deref().unwrap_or(""))?;
                }
                labels.values().flatten().count()
            }
            LabelsPatch::Replace(labels) => {
                for (name, value) in labels {
                    check_label(name, value)?;
                }
                labels.len()
            }
        };
        if count > limits::MAX_LABELS {
            return Err(InvalidValue::new(format!("a stream has at most {} labels", limits::MAX_LABELS)));
        }
        Ok(())
    }
}

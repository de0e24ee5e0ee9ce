//! A line of bars for values over time.

/// Draws all values as at most `width` bars from zero to the greatest bar. A bar is the mean of the values that share
/// it. Unknown values are NaN, and leave a gap.
pub(super) fn spark(values: &[f32], width: usize) -> String {
    let bars = width.min(values.len());
    let part = |bar: usize| &values[bar * values.len() / bars..(bar + 1) * values.len() / bars];
    let means: Vec<_> = (0..bars).map(|bar| mean(part(bar))).collect();
    let greatest = means.iter().copied().fold(0.0, f32::max);
    means.into_iter().map(|mean| if mean.is_nan() { ' ' } else { bar(mean / greatest) }).collect()
}

/// Returns the mean of the known values, or NaN if no value is known.
fn mean(values: &[f32]) -> f32 {
    let known = || values.iter().filter(|value| value.is_finite());
    known().sum::<f32>() / known().count() as f32
}

/// Returns the bar for a share of the greatest value. Zero has the lowest bar too, so that the time axis stays visible.
fn bar(share: f32) -> char {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    // The cast saturates, and NaN becomes 0.
    BARS[((share * 8.0).ceil() as usize).clamp(1, 8) - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_means_relative_to_the_greatest_of_them() {
        for (values, width, expected) in [
            (&[][..], 5, ""),
            (&[1.0], 0, ""),
            (&[0.0, 0.0], 5, "▁▁"),
            (&[0.0, 1.0, 4.0, 7.0, 8.0], 5, "▁▁▄▇█"),
            (&[8.0, 8.0, 4.0, 4.0, 2.0, 2.0], 3, "█▄▂"),
            (&[1.0, 2.0, 3.0, 4.0, 5.0], 2, "▃█"),
            (&[f32::NAN, 1.0, f32::NAN, f32::NAN], 4, " █  "),
            (&[f32::NAN, 1.0, f32::NAN, f32::NAN], 2, "█ "),
            (&[f32::MAX, f32::MAX / 2.0, 1.0], 3, "█▄▁"),
        ] {
            assert_eq!(spark(values, width), expected, "{values:?}");
        }
    }
}

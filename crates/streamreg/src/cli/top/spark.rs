//! A line of bars for values over time.

/// Draws the last values as bars from zero to the greatest of them.
pub(super) fn spark(values: &[u64], width: usize) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let shown = &values[values.len().saturating_sub(width)..];
    let greatest = u128::from(shown.iter().copied().max().unwrap_or_default().max(1));
    let bar = |value: &u64| {
        let height = (u128::from(*value) * 8).div_ceil(greatest);
        // The height is at most 8. Zero has the lowest bar too, so that the time axis stays visible.
        BARS[usize::try_from(height.saturating_sub(1)).unwrap_or_default().min(7)]
    };
    shown.iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_relative_to_the_greatest_of_the_last_values() {
        for (values, width, expected) in [
            (&[][..], 5, ""),
            (&[0, 0], 5, "▁▁"),
            (&[0, 1, 4, 7, 8], 5, "▁▁▄▇█"),
            (&[9, 0, 1, 2], 3, "▁▄█"),
            (&[u64::MAX, u64::MAX / 2, 1], 3, "█▄▁"),
        ] {
            assert_eq!(spark(values, width), expected, "{values:?}");
        }
    }
}

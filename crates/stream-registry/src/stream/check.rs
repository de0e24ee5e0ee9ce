//! Checks of single values that a caller gives.

use super::invalid::{InvalidValue, Result};
use super::limits::{
    MAX_COUNT, MAX_LABEL_NAME_BYTES, MAX_LABEL_VALUE_BYTES, MAX_LABELS, MAX_RECORD_BYTES, MAX_STRING_BYTES,
};

pub(super) fn string(name: &str, value: &str) -> Result<()> {
    if value.len() > MAX_STRING_BYTES {
        return Err(InvalidValue::new(format!("{name} is longer than {MAX_STRING_BYTES} bytes")));
    }
    Ok(())
}

pub(super) fn count(name: &str, value: u64) -> Result<()> {
    if value > MAX_COUNT {
        return Err(InvalidValue::new(format!("{name} is larger than 2^63 - 1")));
    }
    Ok(())
}

pub(super) fn float(name: &str, value: f64) -> Result<()> {
    if !value.is_finite() || value < 0.0 {
        return Err(InvalidValue::new(format!("{name} must be a finite number of at least 0")));
    }
    Ok(())
}

pub(super) fn label(name: &str, value: &str) -> Result<()> {
    if name.is_empty() || name.len() > MAX_LABEL_NAME_BYTES {
        return Err(InvalidValue::new(format!("a label's name must have 1 to {MAX_LABEL_NAME_BYTES} bytes")));
    }
    if value.len() > MAX_LABEL_VALUE_BYTES {
        return Err(InvalidValue::new(format!("a label's value is longer than {MAX_LABEL_VALUE_BYTES} bytes")));
    }
    Ok(())
}

pub(super) fn label_count(count: usize) -> Result<()> {
    if count > MAX_LABELS {
        return Err(InvalidValue::new(format!("too many labels; a stream has at most {MAX_LABELS}")));
    }
    Ok(())
}

pub(super) fn record_size(bytes: usize) -> Result<()> {
    if bytes > MAX_RECORD_BYTES {
        return Err(InvalidValue::new(format!("the record is larger than {} KiB", MAX_RECORD_BYTES / 1024)));
    }
    Ok(())
}

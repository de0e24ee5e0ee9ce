//! Captures the log output of a test.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, Once, PoisonError};

use tracing::subscriber::{DefaultGuard, set_default, set_global_default};

/// The log output of one thread, from the creation of this value until it is dropped.
///
/// A test that captures its log must run on a single thread.
pub struct CapturedLog {
    output: Output,
    _guard: DefaultGuard,
}

#[derive(Clone, Default)]
struct Output(Arc<Mutex<Vec<u8>>>);

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl CapturedLog {
    /// Starts to capture the log of this thread.
    pub fn start() -> Self {
        // Tracing remembers whether any subscriber wants a log line. Without a global subscriber, another thread that
        // logs at the wrong moment could switch the line off for this thread, too.
        static GLOBAL: Once = Once::new();
        GLOBAL.call_once(|| {
            // If the test program has set a global subscriber already, that subscriber has the same effect.
            let _ = set_global_default(tracing_subscriber::fmt().with_writer(io::sink).finish());
        });
        let output = Output::default();
        let writer = output.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        Self { output, _guard: set_default(subscriber) }
    }

    /// Returns the captured output.
    pub fn text(&self) -> String {
        let bytes = self.output.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Discards the output captured so far.
    pub fn clear(&self) {
        self.output.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

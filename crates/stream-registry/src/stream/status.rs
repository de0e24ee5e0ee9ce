//! The status of a stream.

super::token::word_enum! {
    /// The status of a stream as its ingest node reports it.
    ///
    /// An unknown status is kept as [`Other`](Self::Other).
    ///
    /// ```
    /// use stream_registry::StreamStatus;
    ///
    /// assert_eq!("paused".parse::<StreamStatus>()?, StreamStatus::Paused);
    /// assert_eq!("buffering".parse::<StreamStatus>()?.as_str(), "buffering");
    /// # Ok::<(), stream_registry::Error>(())
    /// ```
    StreamStatus, "status", {
        /// The publisher is connected, but no media has arrived yet.
        Connecting = "connecting",
        /// Media is arriving.
        Active = "active",
        /// The publisher has paused.
        Paused = "paused",
        /// The ingest node reports a fault.
        Error = "error",
        /// The publisher has disconnected; the stream is about to be unregistered.
        Closed = "closed",
    }
}

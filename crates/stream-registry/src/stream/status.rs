//! The state of a stream.

super::token::word_enum! {
    /// The state of a stream as its ingest node reports it.
    ///
    /// ```
    /// use stream_registry::StreamStatus;
    /// assert_eq!("paused".parse::<StreamStatus>()?, StreamStatus::Paused);
    /// assert_eq!("buffering".parse::<StreamStatus>()?.as_str(), "buffering");
    /// # Ok::<(), stream_registry::Error>(())
    /// ```
    StreamStatus, "status", {
        /// The publisher is connected; media has not come yet.
        Connecting = "connecting",
        /// Media comes in.
        Active = "active",
        /// The publisher paused.
        Paused = "paused",
        /// The ingest node reports a fault.
        Error = "error",
        /// The publisher is gone; the record is about to be unregistered.
        Closed = "closed",
    }
}

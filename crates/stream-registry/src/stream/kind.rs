//! The protocol of a stream.

super::token::word_enum! {
    /// The protocol that a publisher uses; `type` in the record.
    ///
    /// An unknown protocol is kept as [`Other`](Self::Other).
    ///
    /// ```
    /// use stream_registry::StreamType;
    ///
    /// assert_eq!("srt".parse::<StreamType>()?, StreamType::Srt);
    /// assert_eq!("whip".parse::<StreamType>()?.as_str(), "whip");
    /// # Ok::<(), stream_registry::Error>(())
    /// ```
    StreamType, "type", {
        /// Secure Reliable Transport.
        Srt = "srt",
        /// Real-time Transport Protocol (RFC 3550).
        Rtp = "rtp",
    }
}

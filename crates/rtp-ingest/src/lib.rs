//! An ingest node for RTP: receives packets over UDP, measures them, and keeps a stream registry up to date.
//!
//! Each RTP session is one stream. A session is one synchronisation source (SSRC, RFC 3550) at one sender address. The
//! stream is registered when two packets in sequence have arrived. Its statistics are updated every second. The stream
//! is unregistered when the sender sends RTCP BYE or times out.
//!
//! | module | purpose |
//! |---|---|
//! | [`packet`] | parses RTP and RTCP headers |
//! | [`cli`] | parses the command line |
//! | [`listen`] | opens the sockets |
//! | [`session`] | measures one session: loss, jitter, rates |
//! | [`sdp`] | reads codecs from session descriptions |
//! | [`table`] | holds all sessions: probation, limits, time-outs, BYE |
//! | [`publish`] | registers, updates and unregisters the sessions' streams |
//! | [`ingest`] | runs the node |

pub mod cli;
pub mod ingest;
pub mod listen;
pub mod packet;
pub mod publish;
pub mod sdp;
pub mod session;
pub mod table;

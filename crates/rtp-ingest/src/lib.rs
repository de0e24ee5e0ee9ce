//! An ingest node for RTP: receives packets over UDP, measures them, and keeps a stream registry up to date.
//!
//! Each RTP session, i.e. each synchronisation source (SSRC, RFC 3550) at each address, is one stream. It is registered
//! when two packets in sequence have arrived, reports its statistics every second, and is unregistered when the sender
//! sends RTCP BYE or times out.
//!
//! | module | purpose |
//! |---|---|
//! | [`packet`] | parses RTP and RTCP headers |
//! | [`cli`] | parses the command line |
//! | [`listen`] | opens the sockets |
//! | [`session`] | measures one session: loss, jitter, rates |
//! | [`sdp`] | reads codecs from session descriptions |
//! | [`table`] | holds all sessions: probation, limits, time-outs, BYE |
//! | [`publish`] | keeps the registry in step with the sessions |
//! | [`ingest`] | runs the node |

pub mod cli;
pub mod ingest;
pub mod listen;
pub mod packet;
pub mod publish;
pub mod sdp;
pub mod session;
pub mod table;

//! An ingest node for RTP: receives over UDP, measures, and keeps a stream registry up to date.
//!
//! Each RTP session (RFC 3550: a synchronisation source at an address) is a stream. It is registered when its
//! sequence numbers prove it real, reports its statistics each second, and is unregistered when the sender says
//! good-bye or falls silent.
//!
//! | module | what it does |
//! |---|---|
//! | [`packet`] | reads RTP and RTCP headers |
//! | [`cli`] | reads the command line |
//! | [`listen`] | opens the sockets |
//! | [`session`] | counts one session: loss, jitter, rates |
//! | [`sdp`] | knows codecs from session descriptions |
//! | [`table`] | holds all sessions: probation, limits, silence, good-bye |
//! | [`publish`] | brings the registry in step with them |
//! | [`ingest`] | runs it all |

pub mod cli;
pub mod ingest;
pub mod listen;
pub mod packet;
pub mod publish;
pub mod sdp;
pub mod session;
pub mod table;

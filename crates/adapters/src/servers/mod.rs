//! The media servers: which requests to send, and how to read their answers and hooks.

pub(crate) mod fields;
pub mod go2rtc;
pub mod icecast;
pub(crate) mod json;
pub mod mediamtx;
pub mod nginx_rtmp;
pub mod ome;
mod one_request;
pub mod srs;
pub(crate) mod words;
mod xml;
pub mod zlm;

use std::fmt;
use std::str::FromStr;

use crate::model::{Event, Name, Snapshot};
use crate::reconcile::Profile;

/// A kind of media server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// MediaMTX.
    MediaMtx,
    /// SRS.
    Srs,
    /// nginx with the RTMP module.
    NginxRtmp,
    /// ZLMediaKit.
    Zlm,
    /// go2rtc.
    Go2rtc,
    /// Icecast.
    Icecast,
    /// OvenMediaEngine, which is followed by its hooks alone.
    Ome,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 7] =
        [Self::MediaMtx, Self::Srs, Self::NginxRtmp, Self::Zlm, Self::Go2rtc, Self::Icecast, Self::Ome];

    /// Returns the name, as in `streamreg bridge NAME`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MediaMtx => "mediamtx",
            Self::Srs => "srs",
            Self::NginxRtmp => "nginx-rtmp",
            Self::Zlm => "zlm",
            Self::Go2rtc => "go2rtc",
            Self::Icecast => "icecast",
            Self::Ome => "ome",
        }
    }

    /// Returns the path of the list, for a URL without a path; empty if requests name their paths themselves.
    pub fn default_path(self) -> &'static str {
        match self {
            Self::NginxRtmp => "/stat",
            Self::Icecast => "/status-json.xsl",
            Self::MediaMtx | Self::Srs | Self::Zlm | Self::Go2rtc | Self::Ome => "",
        }
    }

    /// Returns the URL of the API on the same machine, with the server's default port if there is one.
    pub fn default_url(self) -> &'static str {
        match self {
            Self::MediaMtx => "http://127.0.0.1:9997",
            Self::Srs => "http://127.0.0.1:1985",
            Self::NginxRtmp => "http://127.0.0.1:8080/stat",
            Self::Zlm => "http://127.0.0.1:80",
            Self::Go2rtc => "http://127.0.0.1:1984",
            Self::Icecast => "http://127.0.0.1:8000/status-json.xsl",
            Self::Ome => "http://127.0.0.1:8081",
        }
    }

    /// Returns whether the secret of the API is a parameter of the query, not HTTP basic authentication.
    pub fn has_secret_parameter(self) -> bool {
        self == Self::Zlm
    }

    /// Returns a new list of the server's streams, or `None` if the server has no list.
    pub fn list(self, secret: Option<&str>) -> Option<Box<dyn List>> {
        match self {
            Self::MediaMtx => Some(Box::new(mediamtx::MediaMtxList::default())),
            Self::Srs => Some(Box::new(srs::SrsList::default())),
            Self::NginxRtmp => Some(Box::new(nginx_rtmp::StatList)),
            Self::Zlm => Some(Box::new(zlm::MediaList::new(secret))),
            Self::Go2rtc => Some(Box::new(go2rtc::StreamList)),
            Self::Icecast => Some(Box::new(icecast::StatusList)),
            Self::Ome => None,
        }
    }

    /// Returns a reader of the server's hooks, or `None` if the server has no hooks that the bridge uses.
    pub fn hooks(self) -> Option<Box<dyn Hooks>> {
        match self {
            Self::Srs => Some(Box::new(srs::SrsHooks)),
            Self::NginxRtmp => Some(Box::new(nginx_rtmp::HookReader)),
            Self::Zlm => Some(Box::new(zlm::HookReader::default())),
            Self::Ome => Some(Box::new(ome::HookReader)),
            Self::MediaMtx | Self::Go2rtc | Self::Icecast => None,
        }
    }

    /// Returns the stream that a publisher wants to publish, if this hook asks whether the publisher may start. Returns
    /// `None` for all other hooks, and for a body that cannot be read.
    pub fn requested_stream(self, body: &[u8]) -> Option<Name> {
        if self == Self::Zlm {
            // Its reader ignores this hook.
            return zlm::requested_stream(body);
        }
        self.hooks()?.read(body).ok()?.into_iter().find_map(|event| match event {
            Event::Started(item) => Some(item.name),
            _ => None,
        })
    }

    /// Returns how the answer to a hook refuses a publisher, or `None` if no hook that the bridge uses can do so.
    pub fn refusal(self) -> Option<Refusal> {
        match self {
            Self::NginxRtmp => Some(Refusal::Status),
            Self::Srs | Self::Zlm | Self::Ome => Some(Refusal::Body),
            Self::MediaMtx | Self::Go2rtc | Self::Icecast => None,
        }
    }

    /// Returns how the server behaves.
    pub fn profile(self) -> Profile {
        match self {
            Self::MediaMtx => mediamtx::PROFILE,
            Self::Srs => srs::PROFILE,
            Self::NginxRtmp => nginx_rtmp::PROFILE,
            Self::Zlm => zlm::PROFILE,
            Self::Go2rtc => go2rtc::PROFILE,
            Self::Icecast => icecast::PROFILE,
            Self::Ome => ome::PROFILE,
        }
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("unknown media server {name:?}; expected {names}")
        })
    }
}

/// The part of the answer to a hook that refuses a publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The body. The status is 200, because ZLMediaKit may repeat a hook after another status.
    Body,
    /// The status 403, because the server ignores the body.
    Status,
}

/// A request to the API of a media server. Every request is a `GET`.
///
/// `Debug` leaves out the query, because a query may contain a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// The path and the query, to be appended to the URL of the API. Begins with a slash, or is empty if the URL itself
    /// is the list.
    pub path: String,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = match self.path.split_once('?') {
            Some((path, _)) => &format!("{path}?…"),
            None => &self.path,
        };
        f.debug_struct("Request").field("path", shown).finish()
    }
}

/// The answer to a request.
///
/// `Debug` leaves out the body, because a body may contain the secrets of publishers.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").field("status", &self.status).field("bytes", &self.body.len()).finish()
    }
}

/// The next step of listing the streams of a server.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Send these requests, and pass all answers to the next step in the same order.
    Ask(Vec<Request>),
    /// The list is complete.
    Done(Snapshot),
}

/// Lists the live streams of a server, step by step. Use a new value for each list.
pub trait List: Send {
    /// Returns the next step. The first call passes no answers.
    ///
    /// # Errors
    ///
    /// Returns an error if an answer cannot be read. The state of all streams is then unknown.
    fn step(&mut self, answers: &[Answer]) -> Result<Step, ReadError>;
}

/// Reads the hooks of a server.
pub trait Hooks: Send {
    /// Reads one hook. Returns no event for a hook that concerns no publisher.
    ///
    /// # Errors
    ///
    /// Returns an error if the body is not a hook of this server.
    fn read(&mut self, body: &[u8]) -> Result<Vec<Event>, ReadError>;
}

/// An answer or a hook cannot be read. The message repeats no part of the body, because bodies contain secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadError(String);

impl ReadError {
    /// Creates an error with this message.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ReadError {}

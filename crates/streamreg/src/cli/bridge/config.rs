//! Which servers to follow: from the arguments, or from the configuration file.

use std::path::PathBuf;

use adapters::model::Name;
use adapters::reconcile::{IdTemplate, SERVER_LABEL};
use adapters::servers::Kind;
use serde::Deserialize;
use stream_registry::{Secret, Stream, StreamId};

use super::request::Api;
use super::{BridgeArgs, DuplicatePolicy};
use crate::cli::failure::{Failure, Result};
use crate::cli::store::first_line;

const ONE_SERVER: &str = "{node}/{path}";
const SEVERAL_SERVERS: &str = "{node}/{server}/{path}";

/// Maximum length of a server's name, which becomes a label and a part of ids.
const MAX_NAME: usize = 100;

/// A media server to follow.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) kind: Kind,
    /// Distinguishes the servers of a bridge: in the label `server` and in the path for hooks.
    pub(super) name: String,
    pub(super) node: String,
    pub(super) ids: IdTemplate,
    /// The API. `None` for a server that is followed by its hooks alone.
    pub(super) api: Option<Api>,
}

impl Server {
    /// Returns the id of a stream; `None` if the id is illegal.
    pub(super) fn id(&self, name: &Name) -> Option<StreamId> {
        StreamId::new(self.ids.expand(&self.node, &self.name, name)).ok()
    }

    /// Returns whether the bridge has registered this record for this server.
    pub(super) fn owns(&self, record: &Stream) -> bool {
        record.node.as_ref() == Some(&self.node) && record.labels.get(SERVER_LABEL) == Some(&self.name)
    }

    /// Returns whether this server can refuse a publisher by its answer to a hook.
    pub(super) fn can_refuse(&self) -> bool {
        self.kind.refusal().is_some()
    }
}

/// One server of the configuration file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    kind: String,
    api: Option<String>,
    name: Option<String>,
    secret_file: Option<PathBuf>,
}

impl Entry {
    /// Parses a TOML document.
    ///
    /// # Errors
    ///
    /// Returns a message that names the invalid key.
    pub(super) fn parse(text: &str) -> std::result::Result<Self, String> {
        toml::from_str(text).map_err(|error| error.message().to_owned())
    }
}

/// Returns the servers to follow.
///
/// # Errors
///
/// Returns a usage error if a file, a URL or the id template is invalid.
pub(super) fn servers(args: &BridgeArgs) -> Result<Vec<Server>> {
    let entries = match args.kind {
        Some(kind) if args.api.is_empty() => vec![entry(kind, None, args)],
        Some(kind) => args.api.iter().map(|api| entry(kind, Some(api.clone()), args)).collect(),
        None => args.servers.clone(),
    };
    if entries.is_empty() {
        return Err(Failure::usage(
            "there is no server to follow; name a kind of server, e.g. mediamtx, or pass --config with tables [[server]]",
        ));
    }
    let several = entries.len() > 1;
    let ids = match &args.id_template {
        Some(ids) if several && !ids.contains_server() => {
            return Err(Failure::usage(
                "streams of different servers could get the same id; add {server} to --id-template",
            ));
        }
        Some(ids) => ids.clone(),
        None => (if several { SEVERAL_SERVERS } else { ONE_SERVER }).parse().map_err(Failure::usage)?,
    };
    let node = args.node.clone().unwrap_or_else(machine_name);
    let secret_option = if args.kind.is_none() { "secret_file" } else { "--secret-file" };
    let mut servers: Vec<Server> = Vec::with_capacity(entries.len());
    for entry in entries {
        let kind: Kind = entry.kind.parse().map_err(Failure::usage)?;
        let secret = entry.secret_file.as_deref().map(|file| first_line(secret_option, file)).transpose()?;
        let api = match &entry.api {
            Some(url) => Some(Api::new(kind, url, secret.map(Secret::from))?),
            None if kind.list(None).is_none() && args.hooks.is_some() => None,
            None if kind.list(None).is_none() => {
                return Err(Failure::usage(format_args!("{} has no list of streams; pass --hooks", kind.name())));
            }
            None => Some(Api::new(kind, kind.default_url(), secret.map(Secret::from))?),
        };
        let is_only = servers.iter().all(|server| server.kind != kind);
        let name = entry.name.or_else(|| api.as_ref().filter(|_| !is_only).map(Api::authority));
        let name = name.unwrap_or_else(|| kind.name().to_owned());
        if name.is_empty()
            || name.len() > MAX_NAME
            || !name.chars().all(|c| c.is_ascii_graphic() && !"/?%#".contains(c))
        {
            return Err(Failure::usage(format_args!(
                "invalid server name {name:?}; use up to {MAX_NAME} printable ASCII characters except space / ? % #"
            )));
        }
        if servers.iter().any(|server| server.name == name) {
            return Err(Failure::usage(format_args!("duplicate server name {name:?}; rename one of the servers")));
        }
        servers.push(Server { kind, name, node: node.clone(), ids: ids.clone(), api });
    }
    if args.duplicates == DuplicatePolicy::Refuse {
        check_refusal(args, &ids, &servers)?;
    }
    Ok(servers)
}

/// Checks that `--duplicates refuse` can have an effect.
fn check_refusal(args: &BridgeArgs, ids: &IdTemplate, servers: &[Server]) -> Result {
    let fault = if args.hooks.is_none() {
        "--duplicates refuse needs the hooks of the servers; pass --hooks, e.g. --hooks 127.0.0.1:8581"
    } else if args.dry_run {
        "--duplicates refuse asks the store, which --dry-run does not open; omit one of the two options"
    } else if !servers.iter().any(Server::can_refuse) {
        "no hook of these servers can refuse a publisher; use --duplicates refuse with srs, nginx-rtmp, zlm or ome"
    } else if ids.contains_node() {
        "ids that contain {node} are never the same on two nodes; with --duplicates refuse, pass another \
         --id-template, e.g. {path}, or {server}/{path} for several servers"
    } else {
        return Ok(());
    };
    Err(Failure::usage(fault))
}

fn entry(kind: Kind, api: Option<String>, args: &BridgeArgs) -> Entry {
    Entry { kind: kind.name().to_owned(), api, name: None, secret_file: args.secret_file.clone() }
}

/// Returns the name of this machine.
#[cfg(unix)]
pub(in crate::cli) fn machine_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

#[cfg(not(unix))]
pub(in crate::cli) fn machine_name() -> String {
    std::env::var("COMPUTERNAME").unwrap_or_else(|_| "localhost".to_owned())
}

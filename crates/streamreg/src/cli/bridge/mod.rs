//! `bridge`: registers the live streams of media servers.
//!
//! `config` reads which servers to follow. `poll` lists each server at intervals through `request`, and
//! `hooks` receives the messages of the servers. Both pass what they read to the server's reconciler (`follow`),
//! and the changes go to `publish`, which has a task per live stream (`held`). `repeats` limits the log.

pub(super) mod config;
mod follow;
mod held;
mod hooks;
mod poll;
mod publish;
mod repeats;
pub(super) mod request;

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use adapters::reconcile::IdTemplate;
use adapters::servers::Kind;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use clap::{Args, ValueEnum};
use stream_registry::Registry;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

use self::follow::Follower;
use self::held::Store;
use self::hooks::Gate;
use self::publish::{Publisher, Sink};
use super::failure::{Failure, Result, Status};
use super::log::LogArgs;
use super::output::Output;
use super::store::Target;
use super::{input, signal, terminal};
use crate::server::raise_descriptor_limit;

/// Pause between two attempts to reach the store when the bridge starts.
const CONNECT_PAUSE: Duration = Duration::from_secs(2);
/// Time after a signal at which the bridge exits even if standard output is blocked.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum number of lines that wait to be printed.
const LINES: usize = 10_000;

/// What to do if a publisher starts a stream that is live on another node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum DuplicatePolicy {
    /// Allow every publisher; the node that was first keeps the id
    #[default]
    Observe,
    /// Ask the store, and refuse the publisher
    Refuse,
}

/// Arguments of `bridge`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  streamreg bridge mediamtx --once --dry-run
  streamreg bridge mediamtx --api http://127.0.0.1:9997
  streamreg bridge nginx-rtmp --hooks 127.0.0.1:8581
  streamreg bridge --config /etc/streamreg/bridge.toml

Without --hooks, the bridge only reads from the media servers, so it cannot interrupt a publisher. If a server does \
not answer, its streams stay registered until their time to live is over. When the bridge stops, the streams also \
stay registered for that long, so that a restart does not interrupt them.")]
pub struct BridgeArgs {
    /// The kind of media server
    #[arg(value_name = "SERVER", value_parser = kind_parser())]
    pub kind: Option<Kind>,

    /// URL of the server's API; may be repeated for several servers of this kind [default: the usual port of the server
    /// on this machine, e.g. http://127.0.0.1:9997 for mediamtx]
    #[arg(long, value_name = "URL")]
    pub api: Vec<String>,

    /// A server to follow, as a TOML document: a table `[[server]]` of the configuration file
    #[arg(long = "server", value_name = "TOML", hide = true, value_parser = config::Entry::parse)]
    #[arg(conflicts_with_all = ["kind", "api", "secret_file"])]
    pub servers: Vec<config::Entry>,

    /// The node that the streams belong to [default: the name of this machine]
    #[arg(long, value_name = "NODE", value_parser = input::non_empty_string)]
    pub node: Option<String>,

    /// How to form stream ids from {node}, {server}, {vhost}, {app}, {name} and {path} (vhost, app and name) [default:
    /// {node}/{path}; for several servers {node}/{server}/{path}]
    #[arg(long, value_name = "TEMPLATE")]
    pub id_template: Option<IdTemplate>,

    /// File whose first line is the secret of the server's API: api.secret for zlm, otherwise user:password
    #[arg(long, value_name = "FILE")]
    pub secret_file: Option<PathBuf>,

    /// Also receive the hooks of the servers, at http://ADDR:PORT/hooks/SERVER. The bridge answers every hook at once
    /// and allows the publisher, unless --duplicates refuse is given. The address must be loopback
    #[arg(long, value_name = "ADDR:PORT", value_parser = input::listen_address)]
    pub hooks: Option<SocketAddr>,

    /// What to do if a publisher starts a stream that is live on another node. `refuse` needs the publish hooks of
    /// srs, nginx-rtmp, zlm or ome, and ids without {node}. If the store gives no answer within 500 ms, the
    /// publisher is allowed
    #[arg(long, value_enum, value_name = "POLICY", default_value_t)]
    pub duplicates: DuplicatePolicy,

    /// List each server once, print the streams and exit
    #[arg(long, requires = "dry_run")]
    pub once: bool,

    /// Write nothing to the store; print what would be written
    #[arg(long)]
    pub dry_run: bool,

    /// Options of the log.
    #[command(flatten)]
    pub log: LogArgs,
}

fn kind_parser() -> impl clap::builder::TypedValueParser<Value = Kind> {
    PossibleValuesParser::new(Kind::ALL.map(Kind::name)).try_map(|name| name.parse())
}

/// Follows the servers until a signal arrives.
///
/// # Errors
///
/// Fails if the configuration is invalid, if the address for hooks is not available, or if the store rejects the
/// connection. With `--once`, also fails if a server cannot be listed.
pub(super) async fn run(target: &Target, args: &BridgeArgs, out: &mut Output<'_>) -> Result {
    let servers = config::servers(args)?;
    if args.once {
        return poll::print_once(servers, out).await;
    }
    raise_descriptor_limit();
    let listener = match args.hooks {
        Some(address) => Some(hooks::bind(address).await?),
        None => None,
    };
    let stop = signal::stop_requested(Some(STOP_TIMEOUT));
    let (opened, store) = watch::channel(None);
    let (print, mut lines) = mpsc::channel(LINES);
    let gate = (args.duplicates == DuplicatePolicy::Refuse).then(|| Gate::new(store.clone()));
    let publisher = Publisher::new(store);
    let sink = if args.dry_run { Sink::Print(print.clone()) } else { Sink::Store(Arc::clone(&publisher)) };
    let names: Vec<_> = servers.iter().map(|server| server.name.clone()).collect();
    let may_refuse = gate.is_some();
    let always_allowed = servers.iter().filter(|server| may_refuse && !server.can_refuse());
    let always_allowed: Vec<_> = always_allowed.map(|server| server.name.clone()).collect();
    let followers: Vec<_> = servers.into_iter().map(|server| Arc::new(Follower::new(server, sink.clone()))).collect();
    let mut tasks = JoinSet::new();
    // Hooks are answered even before the store can be reached, because media servers disconnect publishers otherwise.
    if let Some(listener) = listener {
        tasks.spawn(hooks::serve(listener, followers.clone(), gate));
    }
    for follower in &followers {
        tasks.spawn(poll::run(Arc::clone(follower)));
    }
    let into = if args.dry_run { "nothing (--dry-run)" } else { out.store };
    out.note(format_args!("following {}; writing to {into}", names.join(", ")));
    if !always_allowed.is_empty() {
        out.note(format_args!(
            "the bridge cannot refuse publishers of {}; their duplicates are only logged",
            always_allowed.join(", ")
        ));
    }
    let mut attempt: Attempt<'_> = Box::pin(target.connect());
    let (mut is_open, mut problem) = (args.dry_run, None);
    tokio::pin!(stop);
    loop {
        tokio::select! {
            _ = &mut stop => break,
            opening = &mut attempt, if !is_open => match opening {
                Ok(registry) => {
                    is_open = true;
                    let store = Store::new(registry);
                    followers.iter().for_each(|follower| follower.set_ttl(store.ttl));
                    opened.send_replace(Some(store));
                    if problem.is_some() {
                        out.note("connected to the store");
                    }
                }
                Err(failure) if failure.status == Status::Usage => return Err(failure),
                Err(failure) => {
                    if problem != failure.message {
                        let (message, pause) = (failure.message.as_deref().unwrap_or_default(), CONNECT_PAUSE.as_secs());
                        out.note(format_args!("{message}; retrying every {pause} s"));
                    }
                    problem = failure.message;
                    attempt = Box::pin(async {
                        sleep(CONNECT_PAUSE).await;
                        target.connect().await
                    });
                }
            },
            Some(line) = lines.recv() => {
                writeln!(out.stdout, "{}", terminal::escape(&line)).map_err(|error| Failure::output(&error))?;
                out.flush()?;
            }
            // A task ends only if it panics. Without it, the registry would silently become outdated.
            Some(_) = tasks.join_next() => {
                return Err(Failure::new(Status::Failed, "a task of the bridge has panicked; please report this"));
            }
        }
    }
    publisher.finish().await;
    out.flush()?;
    // The leases are not released: the streams are still live on the media servers, and a restarted bridge renews them.
    std::process::exit(0)
}

/// An attempt to reach the store. A bridge that starts before the store retries.
type Attempt<'a> = Pin<Box<dyn Future<Output = Result<Arc<dyn Registry>>> + 'a>>;

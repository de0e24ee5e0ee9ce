//! From parsed arguments to an exit status: opens the store, runs the verb, tells a failure.

use std::io::{self, IsTerminal, Read};

use stream_registry::Registry;
use tokio::runtime::{Builder, Runtime};
use tracing_subscriber::EnvFilter;

use super::failure::{Failure, Result, Status};
use super::output::Output;
use super::{
    Cli, Verb, demo, get, heartbeat, held, history, list, register, run_command, serve, set, summary, unregister,
    update, wait, watch,
};
use crate::config::{STORE_VARIABLE, Side, Target};

pub(super) fn run(cli: &Cli) -> Status {
    let side = if matches!(cli.verb, Verb::Serve(_)) { Side::Server } else { Side::Client };
    let stdout = io::stdout();
    let terminal = stdout.is_terminal();
    let width = terminal_size::terminal_size_of(&stdout).map(|(width, _)| width.0.into());
    let mut buffered = io::BufWriter::new(stdout.lock());
    let mut stderr = io::stderr();
    let mut out =
        Output { stdout: &mut buffered, stderr: &mut stderr, format: cli.global.output, terminal, width, store: "" };
    let variable = std::env::var_os(STORE_VARIABLE).map(|url| url.to_string_lossy().into_owned());
    let target = match cli.global.target(side, variable) {
        Ok(target) => target,
        Err(failure) => return out.tell(&failure),
    };
    out.store = &target.name;
    let done = log(cli).and_then(|()| runtime(&cli.verb)).and_then(|runtime| {
        let done = runtime.block_on(dispatch(cli, &target, &mut out));
        // Reading standard input may block a thread of its own; nobody waits for it.
        runtime.shutdown_background();
        done
    });
    let done = done.and_then(|()| out.flush());
    match done {
        Ok(()) => Status::Done,
        Err(failure) => {
            // What was written before the failure comes before its message.
            let _ = out.stdout.flush();
            out.tell(&failure)
        }
    }
}

async fn dispatch(cli: &Cli, target: &Target, out: &mut Output<'_>) -> Result {
    if let Verb::Serve(args) = &cli.verb {
        return serve::run(target, args, out).await;
    }
    let ready = prepare(&cli.verb, &mut io::stdin())?;
    let registry = target.connect().await?;
    let done = match ready {
        // They share the registry with a task that keeps streams alive.
        Ready::Run(plan) => run_command::run(&registry, *plan, out).await,
        Ready::Register(plan) if plan.holds() => held::run(&registry, &plan, out).await,
        ready => perform(&cli.verb, ready, &*registry, out).await,
    };
    // The answer is there; a connection that does not close well changes nothing about it.
    let _ = registry.close().await;
    done
}

/// Runs a client command on a registry that is open already.
///
/// # Errors
///
/// As the command fails.
pub async fn execute(cli: &Cli, registry: &dyn Registry, stdin: &mut dyn Read, out: &mut Output<'_>) -> Result {
    let ready = prepare(&cli.verb, stdin)?;
    perform(&cli.verb, ready, registry, out).await
}

/// Refuses what can be refused without the store, before it is asked.
fn prepare(verb: &Verb, stdin: &mut dyn Read) -> Result<Ready> {
    Ok(match verb {
        Verb::Serve(_)
        | Verb::Demo(_)
        | Verb::List(_)
        | Verb::Summary(_)
        | Verb::Get(_)
        | Verb::Watch(_)
        | Verb::Wait(_)
        | Verb::History(_)
        | Verb::Heartbeat(_) => Ready::AsGiven,
        Verb::Register(args) => Ready::Register(Box::new(args.prepare(stdin)?)),
        Verb::Run(args) => Ready::Run(Box::new(args.prepare(stdin)?)),
        Verb::Set(args) => Ready::Set(Box::new(args.prepare()?)),
        Verb::Update(args) => Ready::Update(Box::new(args.prepare(stdin)?)),
        Verb::Unregister(args) => Ready::Unregister(args.prepare()?),
    })
}

async fn perform(verb: &Verb, ready: Ready, registry: &dyn Registry, out: &mut Output<'_>) -> Result {
    match (verb, ready) {
        (_, Ready::Register(plan)) if !plan.holds() => register::run(registry, &plan, out).await,
        (_, Ready::Set(plan)) => set::run(registry, &plan, out).await,
        (_, Ready::Update(plan)) => update::run(registry, &plan, out).await,
        (_, Ready::Unregister(plan)) => unregister::run(registry, &plan, out).await,
        (Verb::Demo(args), _) => demo::run(registry, args, super::signal::asked_to_stop(), out).await,
        (Verb::List(args), _) => list::run(registry, args, out).await,
        (Verb::Summary(args), _) => summary::run(registry, args, out).await,
        (Verb::Get(args), _) => get::run(registry, args, out).await,
        (Verb::Watch(args), _) => watch::run(registry, args, args.asked_to_stop(), out).await,
        (Verb::History(args), _) => history::run(registry, args, out).await,
        (Verb::Wait(args), _) => wait::run(registry, args, out).await,
        (Verb::Heartbeat(args), _) => heartbeat::run(registry, args, out).await,
        (
            Verb::Serve(_) | Verb::Register(_) | Verb::Run(_) | Verb::Set(_) | Verb::Update(_) | Verb::Unregister(_),
            _,
        ) => Err(Failure::usage("this command does not run on a registry that is open already")),
    }
}

/// Arguments that were checked as far as they can be without a store.
enum Ready {
    /// Parsing was all the checking there is.
    AsGiven,
    Register(Box<register::Plan>),
    Run(Box<run_command::Plan>),
    Set(Box<set::Plan>),
    Update(Box<update::Plan>),
    Unregister(unregister::Plan),
}

fn runtime(verb: &Verb) -> Result<Runtime> {
    let mut builder = match verb {
        Verb::Serve(_) => Builder::new_multi_thread(),
        // Those that go on until a signal comes: it is heard though the main thread waits to write to a pipe that nobody reads.
        Verb::Watch(_) | Verb::Demo(_) | Verb::Run(_) | Verb::Register(_) => {
            let mut builder = Builder::new_multi_thread();
            builder.worker_threads(1);
            builder
        }
        _ => Builder::new_current_thread(),
    };
    builder
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Status::Failed, format_args!("cannot start the async runtime: {error}")))
}

/// The log of a server by default: all but its line for each request, twenty a second under the demo alone.
const SERVER_LOG: &str = "info,streamreg::server::log=warn";

/// Logs go to standard error. A client command logs nothing by default: its messages say it all.
fn log(cli: &Cli) -> Result {
    let (option, default) = match &cli.verb {
        Verb::Serve(args) => (args.log.clone(), SERVER_LOG),
        _ => (None, "off"),
    };
    let variable = std::env::var("RUST_LOG").ok().filter(|filter| !filter.is_empty());
    let (name, filter) = match (option, variable) {
        (Some(filter), _) => ("--log", filter),
        (None, Some(filter)) => ("RUST_LOG", filter),
        (None, None) => ("the log filter", default.to_owned()),
    };
    let parsed = EnvFilter::try_new(&filter).map_err(|error| {
        Failure::usage(format_args!("{name} {filter:?} is not a log filter ({error}); write info or streamreg=debug"))
    })?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(parsed)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .finish();
    // One program has one: it fails only where a test has set its own.
    let _ = tracing::subscriber::set_global_default(subscriber);
    Ok(())
}

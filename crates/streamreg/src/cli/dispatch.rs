//! Turns parsed arguments into an exit status: opens the store, runs the command, reports a failure.

use std::io::{self, IsTerminal, Read};

use clap::CommandFactory as _;
use stream_registry::Registry;
use tokio::runtime::{Builder, Runtime};

use super::args::{Cli, Verb};
use super::failure::{Failure, Result, Status};
use super::log::{self, LogFormat};
use super::output::{Output, colour_enabled};
use super::settings::{self, Settings};
use super::signal::stop_requested;
use super::store::{Side, Target};
use super::unregister::Answers;
use super::{
    bridge, completions, demo, doctor, get, heartbeat, history, hold, hook, input, list, man, ping, register, run,
    serve, set, spelling, summary, token, top, track, unregister, update, wait, watch,
};

/// Runs a command. If the command fails, prints the error message to standard error.
pub(super) fn run(settings: &Settings) -> Status {
    let Settings { cli, fallback, .. } = settings;
    let side = match cli.verb {
        Verb::Serve(_) => Side::Server,
        Verb::Register(_) | Verb::Run(_) | Verb::Demo(_) | Verb::Bridge(_) | Verb::Hook(_) | Verb::Track(_) => {
            Side::Owner
        }
        _ => Side::Client,
    };
    let stdout = io::stdout();
    let terminal = stdout.is_terminal();
    let width = terminal_size::terminal_size_of(&stdout).map(|(width, _)| width.0.into());
    let width = width.or_else(|| std::env::var("COLUMNS").ok()?.parse().ok().filter(|width| *width > 0));
    let mut buffered = io::BufWriter::new(stdout.lock());
    let mut stderr = io::stderr();
    let colour = cli.global.color.or(fallback.color).unwrap_or_default();
    let colour = colour_enabled(colour, terminal, |name| std::env::var_os(name));
    let format = cli.global.output.or(fallback.output);
    let mut out = Output {
        stdout: &mut buffered,
        stderr: &mut stderr,
        format,
        terminal,
        width,
        colour,
        logs_notes: false,
        store: "",
    };
    if let Some(done) = without_store(&cli.verb, &mut out) {
        return done.map_or_else(|failure| out.report(&failure), |()| Status::Done);
    }
    let log = match &cli.verb {
        Verb::Serve(args) => Some(&args.log),
        Verb::Bridge(args) => Some(&args.log),
        _ => None,
    };
    out.logs_notes = log.is_some_and(|log| log.log_format == LogFormat::Json);
    let stderr_is_terminal = io::stderr().is_terminal();
    let started = match &cli.verb {
        Verb::Serve(args) => log::start_server(&args.log),
        Verb::Bridge(args) => log::start_bridge(&args.log),
        // Log lines would destroy the screen.
        Verb::Top(_) if top::fills_screen(&out) && stderr_is_terminal => Ok(()),
        _ => log::start_client(),
    };
    if let Err(failure) = started {
        return out.report(&failure);
    }
    let target = match cli.global.target(side, fallback) {
        Ok(target) => target,
        Err(failure) => return out.report(&failure),
    };
    out.store = &target.name;
    for warning in target.warnings() {
        out.warn(warning);
    }
    if let Verb::Serve(args) = &cli.verb
        && args.print_config
    {
        let printed =
            serve::prepare(&target, args, &mut out).and_then(|_| settings::print(settings, "serve", &mut out));
        return printed.map_or_else(|failure| out.report(&failure), |()| Status::Done);
    }
    let done = runtime(&cli.verb).and_then(|runtime| {
        let done = runtime.block_on(dispatch(cli, &target, &mut out));
        // Do not wait for a thread that may be blocked reading standard input.
        runtime.shutdown_background();
        done
    });
    let done = done.and_then(|()| out.flush());
    match done {
        Ok(()) => Status::Done,
        Err(failure) => {
            // Output written before the failure must appear before the error message.
            let _ = out.stdout.flush();
            out.report(&failure)
        }
    }
}

/// Runs a command that needs no store.
fn without_store(verb: &Verb, out: &mut Output<'_>) -> Option<Result> {
    match verb {
        Verb::Completions(args) => Some(completions::run(args, Cli::command(), out)),
        Verb::Man(args) => Some(man::run(args, Cli::command(), out)),
        Verb::Token(args) => Some(token::run(args, &mut io::stdin(), out)),
        _ => None,
    }
}

async fn dispatch(cli: &Cli, target: &Target, out: &mut Output<'_>) -> Result {
    if let Verb::Serve(args) = &cli.verb {
        return serve::run(target, args, out).await;
    }
    if let Verb::Bridge(args) = &cli.verb {
        return bridge::run(target, args, out).await;
    }
    if let Verb::Hook(args) = &cli.verb {
        return hook::run(target, args, out).await;
    }
    if let Verb::Track(args) = &cli.verb {
        return track::run(target, args, out).await;
    }
    if let Verb::Doctor(args) = &cli.verb {
        return doctor::run(target, args, out).await;
    }
    if let Verb::Demo(args) = &cli.verb {
        args.check_store(&target.name)?;
    }
    if let Verb::List(args) = &cli.verb {
        args.check(out)?;
    }
    let ready = prepare(&cli.verb, &mut io::stdin())?;
    warn(&ready, out);
    let registry = target.connect().await?;
    let done = match (&cli.verb, ready) {
        // These commands share the registry with a task.
        (_, Ready::Run(plan)) => run::run(&registry, *plan, out).await,
        (_, Ready::Register(plan)) if plan.holds() => hold::run(&registry, &plan, out).await,
        (Verb::List(args), _) if args.is_live(out) => {
            list::live::run(&registry, args, watch::stop_requested(true), out).await
        }
        (Verb::Top(args), _) => top::run(&registry, args, out).await,
        (_, ready) => {
            let interactive = io::stdin().is_terminal() && io::stderr().is_terminal();
            let answers = Answers { stdin: &mut io::stdin(), interactive };
            perform(&cli.verb, ready, &*registry, answers, out).await
        }
    };
    // The command has finished, so an error from closing the store no longer matters.
    let _ = registry.close().await;
    done
}

/// Runs a client command on an open registry. If `out` is a terminal, questions are answered from `stdin`.
///
/// # Errors
///
/// Returns the failure of the command.
pub async fn execute(cli: &Cli, registry: &dyn Registry, stdin: &mut dyn Read, out: &mut Output<'_>) -> Result {
    let ready = prepare(&cli.verb, stdin)?;
    warn(&ready, out);
    perform(&cli.verb, ready, registry, Answers { stdin, interactive: true }, out).await
}

/// Checks the arguments as far as possible without a store.
fn prepare(verb: &Verb, stdin: &mut dyn Read) -> Result<Ready> {
    Ok(match verb {
        Verb::Serve(_)
        | Verb::Bridge(_)
        | Verb::Completions(_)
        | Verb::Man(_)
        | Verb::Token(_)
        | Verb::Hook(_)
        | Verb::Track(_)
        | Verb::Doctor(_)
        | Verb::Demo(_)
        | Verb::List(_)
        | Verb::Top(_)
        | Verb::Summary(_)
        | Verb::Get(_)
        | Verb::Watch(_)
        | Verb::Wait(_)
        | Verb::History(_)
        | Verb::Ping(_)
        | Verb::Heartbeat(_) => Ready::AsGiven,
        Verb::Register(args) => Ready::Register(Box::new(args.prepare(stdin)?)),
        Verb::Run(args) => Ready::Run(Box::new(args.prepare(stdin)?)),
        Verb::Set(args) => Ready::Set(Box::new(args.prepare()?)),
        Verb::Update(args) => Ready::Update(Box::new(args.prepare(stdin)?)),
        Verb::Unregister(args) => Ready::Unregister(args.prepare()?),
    })
}

/// Warns about a publisher address that is not `host:port`, and about unknown fields. The store accepts both.
fn warn(ready: &Ready, out: &mut Output<'_>) {
    let stream = match ready {
        Ready::Register(plan) => plan.stream(),
        Ready::Run(plan) => plan.stream(),
        Ready::Update(plan) => plan.stream(),
        Ready::AsGiven | Ready::Set(_) | Ready::Unregister(_) => return,
    };
    let source = &stream.source_addr;
    if !source.is_empty() && !input::is_host_and_port(source) {
        out.warn(format_args!("the publisher address {source:?} is not host:port, e.g. 203.0.113.7:40112"));
    }
    if let Some(warning) = spelling::unknown_fields(stream) {
        out.warn(warning);
    }
}

async fn perform(
    verb: &Verb,
    ready: Ready,
    registry: &dyn Registry,
    answers: Answers<'_>,
    out: &mut Output<'_>,
) -> Result {
    match (verb, ready) {
        (_, Ready::Register(plan)) if !plan.holds() => register::run(registry, &plan, out).await,
        (_, Ready::Set(plan)) => set::run(registry, &plan, out).await,
        (_, Ready::Update(plan)) => update::run(registry, &plan, out).await,
        (_, Ready::Unregister(plan)) => unregister::run(registry, &plan, answers, out).await,
        (Verb::Demo(args), _) => demo::run(registry, args, stop_requested(None), out).await,
        (Verb::List(args), _) => list::run(registry, args, watch::stop_requested(args.watch), out).await,
        (Verb::Summary(args), _) => summary::run(registry, args, out).await,
        (Verb::Get(args), _) => get::run(registry, args, watch::stop_requested(args.watch), out).await,
        (Verb::Watch(args), _) => watch::run(registry, args, args.stop_requested(), out).await,
        (Verb::History(args), _) => history::run(registry, args, out).await,
        (Verb::Wait(args), _) => wait::run(registry, args, out).await,
        (Verb::Ping(_), _) => ping::run(registry, out).await,
        (Verb::Heartbeat(args), _) => heartbeat::run(registry, args, out).await,
        (
            Verb::Serve(_)
            | Verb::Bridge(_)
            | Verb::Completions(_)
            | Verb::Man(_)
            | Verb::Token(_)
            | Verb::Hook(_)
            | Verb::Track(_)
            | Verb::Doctor(_)
            | Verb::Top(_)
            | Verb::Register(_)
            | Verb::Run(_)
            | Verb::Set(_)
            | Verb::Update(_)
            | Verb::Unregister(_),
            _,
        ) => Err(Failure::usage("this command cannot run on an open registry")),
    }
}

/// The arguments of a command, checked as far as possible without a store.
enum Ready {
    /// Arguments that the parser has checked completely.
    AsGiven,
    Register(Box<register::Plan>),
    Run(Box<run::Plan>),
    Set(Box<set::Plan>),
    Update(Box<update::Plan>),
    Unregister(unregister::Plan),
}

fn runtime(verb: &Verb) -> Result<Runtime> {
    let follows = match verb {
        Verb::List(args) => args.watch,
        Verb::Get(args) => args.watch,
        Verb::Top(_)
        | Verb::Watch(_)
        | Verb::Demo(_)
        | Verb::Run(_)
        | Verb::Register(_)
        | Verb::Hook(_)
        | Verb::Track(_) => true,
        _ => false,
    };
    let mut builder = match verb {
        Verb::Serve(_) | Verb::Bridge(_) => Builder::new_multi_thread(),
        // These commands can run until a signal arrives. If the main thread is blocked on a pipe, the second thread handles
        // the signal.
        _ if follows => {
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

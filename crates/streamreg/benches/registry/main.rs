//! Measures the stores: `cargo bench -p streamreg [-- [--quick] [--markdown] [NAME…]]`.
//!
//! One program and one Redis server of its own, so that only ratios of figures of one run are ever
//! compared. What is measured and how is written in `docs/performance.md`.

mod args;
mod bytes;
mod figures;
mod load;
mod ours;
mod report;
mod rows;
mod server;
mod streams;
mod usual;

use std::process::ExitCode;

use args::Args;

/// Any error ends the run: a benchmark that goes on after one measures something else.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> ExitCode {
    match Args::read(std::env::args().skip(1)) {
        // `cargo test --all-targets` runs this program too, without the word that `cargo bench` adds.
        Ok(args) if !args.bench => ExitCode::SUCCESS,
        Ok(args) => finish(run(&args)),
        Err(error) => finish(Err(error)),
    }
}

fn finish(result: Result<()>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    report::note(&format!("the benchmark ended early: {error}"));
    ExitCode::FAILURE
}

fn run(args: &Args) -> Result<()> {
    if let Some(count) = args.fill_memory {
        return bytes::fill(count);
    }
    if let Some(count) = args.serve_lists {
        return rows::lists::serve_lists(count);
    }
    if let Some(url) = &args.hold_leases {
        return rows::leases::hold(url);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(rows::WORKERS).enable_all().build()?;
    runtime.block_on(rows::run(args))
}

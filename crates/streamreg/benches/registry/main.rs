//! Measures the stores: `cargo bench -p streamreg [-- [--quick] [--markdown] [NAME…]]`.
//!
//! All candidates run in one program against one Redis server, which the benchmark starts. Compare only ratios, and
//! only within one run. `docs/performance.md` describes the method.

mod args;
mod baseline;
mod bytes;
mod figures;
mod load;
mod ours;
mod report;
mod rows;
mod server;
mod streams;

use std::process::ExitCode;

use args::Args;

/// Result of a step. Any error ends the run, because figures measured after an error would be misleading.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> ExitCode {
    match Args::parse(std::env::args().skip(1)) {
        // `cargo test --all-targets` also runs this program, but only `cargo bench` passes `--bench`.
        Ok(args) if !args.bench => ExitCode::SUCCESS,
        Ok(args) => finish(run(&args)),
        Err(error) => finish(Err(error)),
    }
}

fn finish(result: Result<()>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    report::note(&format!("the benchmark failed: {error}"));
    ExitCode::FAILURE
}

fn run(args: &Args) -> Result<()> {
    if let Some(count) = args.fill_memory {
        return bytes::fill(count);
    }
    if let Some(count) = args.serve {
        return rows::http::serve_streams(count, args.store.as_deref());
    }
    if let Some(url) = &args.hold_leases {
        return rows::held::hold(url);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(rows::WORKERS).enable_all().build()?;
    runtime.block_on(rows::run(args))
}

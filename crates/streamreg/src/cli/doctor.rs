//! `doctor`: checks the Redis store, and says what to do about what it finds.

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use stream_registry::Registry as _;
use stream_registry::redis::{DiagnoseOptions, Role, Severity};

use super::failure::{Failure, Result, Status};
use super::output::Output;
use super::store::Target;

/// Arguments of `doctor`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  streamreg doctor --store redis://10.0.0.5
  streamreg doctor --store-file /etc/streamreg/store --role server
  streamreg doctor --store redis+cluster://10.0.0.5,10.0.0.6
  streamreg doctor --store redis://10.0.0.5 --repair -o json

Exit status: 0 if nothing is wrong, 6 if there are warnings, 7 if there are errors. Parts that the user may not check \
do not count.")]
pub struct DoctorArgs {
    /// Repair the index: remove entries without a record, and add missing entries
    #[arg(long)]
    pub repair: bool,

    /// Role that the Redis user should have; a missing right is then an error
    #[arg(long, value_name = "ROLE", value_parser = role())]
    pub role: Option<Role>,

    /// Maximum number of keys and index entries to read
    #[arg(long, value_name = "N", default_value = "3000000", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_keys: u64,
}

fn role() -> impl TypedValueParser<Value = Role> {
    PossibleValuesParser::new(Role::ALL.map(Role::as_str)).try_map(|word| word.parse::<Role>())
}

/// Checks the store, after a repair if one was requested.
///
/// # Errors
///
/// Fails with a usage error if the store is not Redis. Fails if the store cannot be reached or standard output cannot
/// be written. If the diagnosis has warnings or errors, returns a failure with their status and without a message.
pub async fn run(target: &Target, args: &DoctorArgs, out: &mut Output<'_>) -> Result {
    if target.is_http() {
        return Err(Failure::usage(
            "doctor checks Redis itself; pass the store URL of the server, e.g. --store redis://host:6379",
        ));
    }
    if args.repair && target.is_read_only() {
        return Err(Failure::usage("--repair changes the index; omit --read-only"));
    }
    let mut options = DiagnoseOptions::default().max_keys(args.max_keys);
    options.role = args.role;
    let registry = target.connect_for_diagnosis(args.repair).await?;
    if args.repair {
        let repair = registry.repair_index(&options).await.map_err(|error| out.failure(&error))?;
        out.note(format_args!("index entries removed: {}, added: {}", repair.removed, repair.added));
        if repair.unavailable_shards > 0 {
            out.note(format_args!("shards that were not repaired: {}", repair.unavailable_shards));
        }
    }
    let diagnosis = registry.diagnose(&options).await.map_err(|error| out.failure(&error))?;
    // The diagnosis is complete, so an error from closing the store no longer matters.
    let _ = registry.close().await;
    out.diagnosis(&diagnosis)?;
    match diagnosis.worst() {
        Severity::Error => Status::Faults,
        Severity::Warning => Status::Warnings,
        _ => Status::Done,
    }
    .into_result()
}

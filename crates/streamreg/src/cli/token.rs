//! `token`: creates and checks tokens for the access file of a server.

use std::io::Read;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use stream_registry::Timestamp;

use super::duration;
use super::failure::{Failure, Result, Status};
use super::input::read_limited;
use super::output::Output;
use crate::server::AccessFile;
use crate::server::access::{Pattern, Scope, TokenHash, check_name, generate, is_intact};

/// Arguments of `token`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  streamreg token new --name edge-1 --scope read,write --ids 'cam-*'
  streamreg token new --name edge-1 --scope write --append access.toml > edge-1
  streamreg token check < edge-1")]
pub struct TokenArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

/// What `token` does.
#[derive(Subcommand, Debug)]
pub enum Action {
    /// Create a token: prints the token to standard output, and its lines for the access file to standard error or, with
    /// --append, to the file
    New(NewArgs),
    /// Read a token from standard input, and print its hash as in the access file
    Check,
}

/// Arguments of `token new`.
#[derive(Args, Debug)]
pub struct NewArgs {
    /// Name of the token in the access file and in logs
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    pub name: String,

    /// What the token may do: read, write, metrics, admin; separated by commas
    #[arg(long, value_name = "SCOPES", value_delimiter = ',', required = true, value_parser = parse_scope)]
    pub scope: Vec<String>,

    /// Allow writes only to streams whose ids match one of these patterns, e.g. `cam-*`; separated by commas
    #[arg(long, value_name = "PATTERNS", value_delimiter = ',', value_parser = parse_pattern)]
    pub ids: Vec<String>,

    /// Allow writes only to streams whose nodes match one of these patterns, e.g. `edge-*`; separated by commas
    #[arg(long, value_name = "PATTERNS", value_delimiter = ',', value_parser = parse_pattern)]
    pub nodes: Vec<String>,

    /// Time after which the token is rejected: a time such as 2027-11-22T14:08:10Z, or a duration such as 90d
    #[arg(long, value_name = "TIME", value_parser = parse_expiry)]
    pub expires: Option<Timestamp>,

    /// Append the lines of the token to this access file, unless it would be invalid. Created if it is missing
    #[arg(long, value_name = "FILE")]
    pub append: Option<PathBuf>,
}

fn parse_name(name: &str) -> std::result::Result<String, String> {
    check_name(name).map(|()| name.to_owned())
}

fn parse_scope(name: &str) -> std::result::Result<String, String> {
    name.parse().map(|scope: Scope| scope.as_str().to_owned())
}

fn parse_pattern(pattern: &str) -> std::result::Result<String, String> {
    Pattern::parse(pattern).map(|pattern| pattern.as_str().to_owned())
}

fn parse_expiry(input: &str) -> std::result::Result<Timestamp, String> {
    let after = |duration: std::time::Duration| {
        let nanos = i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX);
        // Whole seconds are easier to read.
        let end = Timestamp::now().as_unix_nanos().saturating_add(nanos) / 1_000_000_000 * 1_000_000_000;
        Timestamp::from_unix_nanos(end)
    };
    match input.parse() {
        Ok(time) if time <= Timestamp::now() => Err("this time is in the past; choose a later one".to_owned()),
        Ok(time) => Ok(time),
        Err(_) => duration::parse_positive(input)
            .map(after)
            .map_err(|_| "expected a time such as 2027-11-22T14:08:10Z, or a duration such as 90d".to_owned()),
    }
}

/// Creates or checks a token.
///
/// # Errors
///
/// Fails if the arguments do not fit together, if the token is damaged, if the access file is or would become invalid,
/// or if the file or standard output cannot be written.
pub fn run(args: &TokenArgs, stdin: &mut dyn Read, out: &mut Output<'_>) -> Result {
    match &args.action {
        Action::New(args) => new(args, out),
        Action::Check => check(stdin, out),
    }
}

fn new(args: &NewArgs, out: &mut Output<'_>) -> Result {
    let can_write = args.scope.iter().any(|scope| matches!(scope.as_str(), "write" | "admin"));
    let limits_writes = !args.ids.is_empty() || !args.nodes.is_empty();
    if limits_writes && !can_write {
        return Err(Failure::usage("--ids and --nodes limit writes; add the scope write, or omit them"));
    }
    let token = generate().map_err(|message| Failure::new(Status::Failed, message))?;
    let lines = entry(args, &TokenHash::of(token.reveal().as_bytes()));
    if let Some(file) = &args.append {
        let appended = AccessFile::append(file, &(lines.join("\n") + "\n"));
        appended.map_err(|fault| Failure::usage(format_args!("--append {fault}")))?;
        out.line(token.reveal())?;
        return out.flush();
    }
    out.line(token.reveal())?;
    out.flush()?;
    lines.iter().for_each(|line| out.note(line));
    Ok(())
}

/// Returns the lines of a token in the access file.
fn entry(args: &NewArgs, hash: &TokenHash) -> Vec<String> {
    // An array of strings in JSON is also one in TOML.
    let array = |values: &[String]| serde_json::json!(values).to_string();
    let mut lines = vec!["[[token]]".to_owned(), format!("name = \"{}\"", args.name)];
    lines.push(format!("scopes = {}", array(&args.scope)));
    for (key, patterns) in [("ids", &args.ids), ("nodes", &args.nodes)] {
        if !patterns.is_empty() {
            lines.push(format!("{key} = {}", array(patterns)));
        }
    }
    // Whole seconds need no fraction.
    lines.extend(args.expires.map(|expires| format!("expires = {expires}").replace(".000000000", "")));
    lines.push(format!("hash = \"{hash}\""));
    lines
}

fn check(stdin: &mut dyn Read, out: &mut Output<'_>) -> Result {
    let input = read_limited(stdin).map_err(|fault| Failure::usage(format_args!("standard input: {fault}")))?;
    let token = input.trim();
    if token.is_empty() || !is_intact(token) {
        return Err(Failure::new(Status::Failed, "standard input holds no intact token; copy it again completely"));
    }
    out.line(TokenHash::of(token.as_bytes()))?;
    out.flush()
}

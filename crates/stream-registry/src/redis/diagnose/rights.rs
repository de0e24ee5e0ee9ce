//! Checks for which roles the Redis user has the rights.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use super::ask::ask;
use super::report::{Code, Report, is_refused};
use crate::error::Result;
use crate::redis::connect::connection::Connection;
use crate::redis::connect::topology::Topology;
use crate::redis::reply;
use crate::redis::store::Store;
use crate::stream::InvalidValue;

/// What a Redis user does in a registry. The operations guide has the rights of each role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role {
    /// An ingest node: registers streams, keeps them alive and ends them.
    Node,
    /// A server, or a tool that lists and changes streams. Its rights include those of a node, a reader and a sweeper.
    Server,
    /// A program that only reads, opened with `read_only`. It can use a replica.
    Reader,
    /// A process that reports expired streams.
    Sweeper,
    /// An operator that diagnoses and repairs the registry. Its rights include those of a server.
    Operator,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 5] = [Self::Node, Self::Server, Self::Reader, Self::Sweeper, Self::Operator];

    /// Returns the role as a stable lower-case word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Server => "server",
            Self::Reader => "reader",
            Self::Sweeper => "sweeper",
            Self::Operator => "operator",
        }
    }

    /// Returns the commands that a user of this role must be allowed to run, e.g. `get` or `config|get`.
    ///
    /// In addition, the user needs the right to use all keys with the prefix of the registry.
    pub fn commands(self) -> Vec<&'static str> {
        self.commands_of(COMMANDS)
    }

    /// Returns the commands that a user of this role needs in addition in a Redis Cluster, on every node.
    pub fn cluster_commands(self) -> Vec<&'static str> {
        self.commands_of(CLUSTER_COMMANDS)
    }

    fn commands_of(self, commands: &[Command]) -> Vec<&'static str> {
        commands.iter().filter(|command| command.roles.contains(&self)).map(|command| command.right).collect()
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = InvalidValue;

    fn from_str(name: &str) -> std::result::Result<Self, InvalidValue> {
        let found = Self::ALL.into_iter().find(|role| role.as_str() == name);
        found.ok_or_else(|| InvalidValue::unknown_name("role", name))
    }
}

/// A command, with an example that only reads or changes nothing if the key is missing.
struct Command {
    right: &'static str,
    /// The words of the example. `K` stands for a key with the prefix.
    example: &'static str,
    roles: &'static [Role],
}

/// Roles that write streams.
const WRITERS: &[Role] = &[Role::Node, Role::Server, Role::Operator];
/// Roles that write streams, and the sweeper.
const SWEEPERS: &[Role] = &[Role::Server, Role::Sweeper, Role::Operator];
const ALL_WRITERS: &[Role] = &[Role::Node, Role::Server, Role::Sweeper, Role::Operator];
/// Roles that list streams.
const READERS: &[Role] = &[Role::Server, Role::Reader, Role::Operator];
const LISTERS: &[Role] = &[Role::Server, Role::Reader, Role::Sweeper, Role::Operator];
/// Roles that read streams on behalf of a caller.
const CALLERS: &[Role] = &[Role::Node, Role::Server, Role::Reader, Role::Operator];
const EVERYONE: &[Role] = &Role::ALL;
const OPERATOR: &[Role] = &[Role::Operator];

const fn command(right: &'static str, example: &'static str, roles: &'static [Role]) -> Command {
    Command { right, example, roles }
}

/// All commands that this software sends, in the order of the operations guide.
const COMMANDS: &[Command] = &[
    command("ping", "PING", CALLERS),
    command("time", "TIME", ALL_WRITERS),
    command("evalsha", "EVALSHA 0 1 K", ALL_WRITERS),
    command("eval", "EVAL 0 1 K", ALL_WRITERS),
    command("get", "GET K", ALL_WRITERS),
    command("mget", "MGET K", CALLERS),
    command("type", "TYPE K", EVERYONE),
    command("exists", "EXISTS K", WRITERS),
    command("pttl", "PTTL K", ALL_WRITERS),
    command("smismember", "SMISMEMBER K id", WRITERS),
    command("smembers", "SMEMBERS K", READERS),
    command("sscan", "SSCAN K 0", LISTERS),
    command("scard", "SCARD K", LISTERS),
    command("sadd", "SADD K id", WRITERS),
    command("srem", "SREM K id", ALL_WRITERS),
    command("set", "SET K value PX 1", ALL_WRITERS),
    command("setrange", "SETRANGE K 0 value", WRITERS),
    command("pexpire", "PEXPIRE K 1", ALL_WRITERS),
    command("del", "DEL K", ALL_WRITERS),
    command("xadd", "XADD K * field value", ALL_WRITERS),
    command("xread", "XREAD COUNT 1 STREAMS K 0", EVERYONE),
    command("xrevrange", "XREVRANGE K + - COUNT 1", READERS),
    command("hmget", "HMGET K field", EVERYONE),
    command("hset", "HSET K field value", ALL_WRITERS),
    command("zadd", "ZADD K 0 id", ALL_WRITERS),
    command("zrem", "ZREM K id", ALL_WRITERS),
    command("zscore", "ZSCORE K id", SWEEPERS),
    command("zmscore", "ZMSCORE K id", ALL_WRITERS),
    command("zrangebyscore", "ZRANGEBYSCORE K 0 1", SWEEPERS),
    command("info", "INFO", OPERATOR),
    command("config|get", "CONFIG GET maxmemory", OPERATOR),
    command("slowlog|get", "SLOWLOG GET 1", OPERATOR),
    command("scan", "SCAN 0 COUNT 1", OPERATOR),
    command("xlen", "XLEN K", OPERATOR),
];

/// The commands that this software sends in addition in a Redis Cluster.
const CLUSTER_COMMANDS: &[Command] = &[
    command("cluster|slots", "CLUSTER SLOTS", EVERYONE),
    command("asking", "ASKING", EVERYONE),
    command("cluster|info", "CLUSTER INFO", OPERATOR),
    command("cluster|nodes", "CLUSTER NODES", OPERATOR),
];

/// Returns all commands that this software sends to the servers of a store.
fn commands(topology: &Topology) -> Vec<&'static Command> {
    let in_cluster: &[Command] = if matches!(topology, Topology::Cluster(_)) { CLUSTER_COMMANDS } else { &[] };
    COMMANDS.iter().chain(in_cluster).collect()
}

/// Returns the words of an example.
fn words(example: &str, key: &str) -> Vec<String> {
    example.split(' ').map(|word| if word == "K" { key.to_owned() } else { word.to_owned() }).collect()
}

/// Checks the rights of the user. `expected` is the role that the user should have.
pub(super) async fn check(
    report: &mut Report,
    connection: &mut Connection,
    store: &Store,
    topology: &Topology,
    expected: Option<Role>,
) -> Result<()> {
    let missing = missing(connection, store, &commands(topology)).await?;
    let user = store.options.login.user.as_deref().unwrap_or("default");
    judge(report, user, &missing, expected);
    Ok(())
}

/// Returns the commands that the user may not run. A user without the right to run scripts cannot write, so all writing
/// commands count as missing then.
async fn missing(
    connection: &mut Connection,
    store: &Store,
    commands: &[&'static Command],
) -> Result<BTreeSet<&'static str>> {
    // No other key has this name, so an example changes nothing.
    let key = format!("{}doctor", store.keys.auxiliary());
    let mut eval = redis::cmd("EVAL");
    // The script gets no key, so that every node of a cluster runs it. It only asks for the rights for the key.
    eval.arg(include_str!("rights.lua")).arg(0);
    for command in commands {
        eval.arg(words(command.example, &key).join("\n"));
    }
    match ask(connection, &eval).await {
        Ok(allowed) => {
            let allowed = reply::array(allowed)?.into_iter().map(|code| reply::number(&code));
            let allowed = allowed.collect::<Result<Vec<_>>>()?;
            let missing = commands.iter().zip(allowed).filter(|(_, code)| *code != 1);
            Ok(missing.map(|(command, _)| command.right).collect())
        }
        Err(error) if is_refused(&error) => without_scripts(connection, &key, commands).await,
        Err(error) => Err(error),
    }
}

/// Tries each command that only reads.
async fn without_scripts(
    connection: &mut Connection,
    key: &str,
    commands: &[&'static Command],
) -> Result<BTreeSet<&'static str>> {
    let mut missing = BTreeSet::new();
    for command in commands {
        let reads = command.roles.contains(&Role::Reader) || command.roles == OPERATOR;
        let allowed = reads && {
            let words = words(command.example, key);
            let mut example = redis::cmd(&words[0]);
            example.arg(&words[1..]);
            match ask(connection, &example).await {
                Ok(_) => true,
                Err(error) if is_refused(&error) => false,
                // Rights are checked first, so any other error reply means that the user may run the command. For
                // example, a node of a cluster redirects a command for a key that it does not have.
                Err(error) if error.is_store_reply() => true,
                Err(error) => return Err(error),
            }
        };
        if !allowed {
            missing.insert(command.right);
        }
    }
    Ok(missing)
}

fn judge(report: &mut Report, user: &str, missing: &BTreeSet<&'static str>, expected: Option<Role>) {
    // The additional commands are needed only in a cluster. Elsewhere they are not checked, and do not count as
    // missing.
    let lacks = |role: Role| -> Vec<&str> {
        let all = role.commands().into_iter().chain(role.cluster_commands());
        all.filter(|command| missing.contains(command)).collect()
    };
    let (can, cannot): (Vec<_>, Vec<_>) = Role::ALL.into_iter().partition(|role| lacks(*role).is_empty());
    let names = |roles: &[Role]| roles.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(", ");
    let grant = |role: Role| {
        let rights: Vec<_> = lacks(role).into_iter().map(|right| format!("+{right}")).collect();
        format!("ACL SETUSER {user} {}", rights.join(" "))
    };
    let has = match (can.is_empty(), cannot.is_empty()) {
        (true, _) => format!("the user {user} has the rights of no role"),
        (_, true) => format!("the user {user} has the rights of all roles: {}", names(&can)),
        _ => format!("the user {user} has the rights of these roles: {}; not of {}", names(&can), names(&cannot)),
    };
    match expected {
        Some(role) if cannot.contains(&role) => {
            report.error(Code::Rights, format!("the user {user} lacks rights of the role {role}"), grant(role));
        }
        None if can.is_empty() => report.error(Code::Rights, has, grant(Role::Reader)),
        _ => report.ok(Code::Rights, has),
    }
}

//! Applies the rights of a caller to each write, and logs the write with the name of the caller's token.

use stream_registry::registry::Operation;
use stream_registry::{
    Change, Error, ErrorKind, Guard, OnConflict, RegisterOptions, Registered, Registry, Result, Stream, StreamId,
    UnregisterOptions, Write,
};

use super::caller::Caller;
use super::pattern::Pattern;
use super::scope::Scope;
use super::tokens::Token;
use super::write_log::WriteLog;

/// The writes of a caller to a store.
pub(in crate::server) struct Writer<'a> {
    store: &'a dyn Registry,
    caller: &'a Caller,
}

impl<'a> Writer<'a> {
    pub(in crate::server) fn new(store: &'a dyn Registry, caller: &'a Caller) -> Self {
        Self { store, caller }
    }

    pub(in crate::server) async fn register_with(
        &self,
        stream: &Stream,
        options: &RegisterOptions,
    ) -> Result<Registered> {
        let log = WriteLog::begin(self.caller, Operation::Register, Some(&stream.id));
        let result = async {
            self.check_id(&stream.id)?;
            self.check_node(stream.node.as_deref())?;
            self.register_checked(stream, options).await
        };
        log.end(result.await)
    }

    /// Registers a stream after a check of the live record, if there is one. Another client can register the stream
    /// between the check and the registration, so a registration without a live record takes no stream over.
    async fn register_checked(&self, stream: &Stream, options: &RegisterOptions) -> Result<Registered> {
        let is_live = self.check_live(&stream.id).await?;
        if self.limited_to_nodes().is_none() || is_live || options.recover.is_some() {
            return self.store.register_with(stream, options).await;
        }
        let create_only = options.clone().on_conflict(OnConflict::CreateOnly);
        match self.store.register_with(stream, &create_only).await {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                self.check_live(&stream.id).await?;
                self.store.register_with(stream, options).await
            }
            result => result,
        }
    }

    pub(in crate::server) async fn register_new(
        &self,
        stream: &Stream,
        options: &RegisterOptions,
    ) -> Result<Registered> {
        let log = WriteLog::begin(self.caller, Operation::Register, None);
        let result = async {
            if self.caller.token().is_some_and(|token| !token.ids.is_empty()) {
                return Err(denied("this token may write some ids only; add an id that it may write"));
            }
            self.check_node(stream.node.as_deref())?;
            self.store.register_new(stream, options).await
        };
        let result = result.await;
        let id = result.as_ref().ok().map(|registered| registered.stream.id.clone());
        log.end_of(id.as_ref(), result)
    }

    pub(in crate::server) async fn unregister_with(
        &self,
        id: &StreamId,
        options: &UnregisterOptions,
    ) -> Result<Stream> {
        let log = WriteLog::begin(self.caller, Operation::Unregister, Some(id));
        let result = async {
            self.check_guard(&options.guard)?;
            self.check_id(id)?;
            self.check_live(id).await?;
            self.store.unregister_with(id, options).await
        };
        log.end(result.await)
    }

    pub(in crate::server) async fn write_one(&self, id: &StreamId, guard: Guard, change: Change) -> Result<()> {
        let log = WriteLog::begin(self.caller, change.operation(), Some(id));
        let write = Write { id: id.clone(), guard, change };
        let result = async {
            self.check_write(&write)?;
            self.check_live(id).await?;
            self.store.write_one(write).await
        };
        log.end(result.await)
    }

    /// Applies a batch. A write that is not allowed fails with `Denied` and does not affect the others.
    pub(in crate::server) async fn write(&self, writes: &[Write]) -> Result<Vec<Result<()>>> {
        let results = self.write_allowed(writes).await;
        if let Some(Token { name: token, .. }) = self.caller.token() {
            let all = results.as_deref().unwrap_or_default();
            let errors = || all.iter().filter_map(|result| result.as_ref().err());
            let (streams, failed) = (writes.len(), if results.is_ok() { errors().count() } else { writes.len() });
            let request_id = self.caller.request_id();
            match errors().filter(|error| error.kind() == ErrorKind::Denied).count() {
                0 => tracing::debug!(token, operation = "write", streams, failed, request_id, "batch"),
                denied => tracing::info!(token, operation = "write", streams, failed, denied, request_id, "batch"),
            }
        }
        results
    }

    async fn write_allowed(&self, writes: &[Write]) -> Result<Vec<Result<()>>> {
        let mut checks: Vec<Result<()>> = writes.iter().map(|write| self.check_write(write)).collect();
        if let Some(token) = self.limited_to_nodes() {
            let ids: Vec<StreamId> = writes.iter().map(|write| write.id.clone()).collect();
            let live = self.store.get_many(&ids).await?;
            for (check, live) in checks.iter_mut().zip(live).filter(|(check, _)| check.is_ok()) {
                *check = live.map_or(Ok(()), |live| check_live_node(token, &live));
            }
        }
        if checks.iter().all(Result::is_ok) {
            return self.store.write(writes).await;
        }
        let allowed = writes.iter().zip(&checks).filter(|(_, check)| check.is_ok()).map(|(write, _)| write.clone());
        let allowed: Vec<Write> = allowed.collect();
        let results = if allowed.is_empty() { Vec::new() } else { self.store.write(&allowed).await? };
        let mut results = results.into_iter();
        let missing = || Err(Error::new(ErrorKind::Internal, "the store returned no result for a write"));
        Ok(checks.into_iter().map(|check| check.and_then(|()| results.next().unwrap_or_else(missing))).collect())
    }

    fn check_write(&self, write: &Write) -> Result<()> {
        self.check_guard(&write.guard)?;
        self.check_id(&write.id)?;
        match &write.change {
            Change::Update(stream) => self.check_node(stream.node.as_deref()),
            Change::Patch(patch) => patch.node.as_deref().map_or(Ok(()), |node| self.check_node(Some(node))),
            Change::Heartbeat | Change::Status(_) | Change::Stats(_) => Ok(()),
            // Another kind of change could set the node.
            _ => self.check_node(None),
        }
    }

    fn check_guard(&self, guard: &Guard) -> Result<()> {
        match self.caller.token() {
            Some(token) if *guard == Guard::Force && !token.allows(Scope::Admin) => {
                Err(denied(&format!("the token {} needs the scope admin for force; omit force", token.name)))
            }
            _ => Ok(()),
        }
    }

    fn check_id(&self, id: &StreamId) -> Result<()> {
        match self.caller.token() {
            Some(token) if !allows(&token.ids, id.as_str()) => {
                let message = format!("the token {} may not write this id; use another id or token", token.name);
                Err(denied(&message).with_stream(id))
            }
            _ => Ok(()),
        }
    }

    /// Checks the node that a record is about to get.
    fn check_node(&self, node: Option<&str>) -> Result<()> {
        match self.caller.token() {
            Some(token) if !allows(&token.nodes, node.unwrap_or_default()) => Err(denied(&format!(
                "the token {} may not write streams of this node; set node to one that it may write",
                token.name
            ))),
            _ => Ok(()),
        }
    }

    /// Returns the token of the caller if it has patterns for nodes.
    fn limited_to_nodes(&self) -> Option<&Token> {
        self.caller.token().filter(|token| !token.nodes.is_empty())
    }

    /// Checks the node of the live record, if there is one. Reads the record only if the token has patterns for nodes.
    /// Returns whether there is a live record that it has checked.
    async fn check_live(&self, id: &StreamId) -> Result<bool> {
        let Some(token) = self.limited_to_nodes() else { return Ok(false) };
        let live = self.store.get_many(std::slice::from_ref(id)).await?;
        let Some(live) = live.into_iter().flatten().next() else { return Ok(false) };
        check_live_node(token, &live).map(|()| true)
    }
}

/// Returns whether a value is allowed by patterns. Without patterns, every value is allowed.
fn allows(patterns: &[Pattern], value: &str) -> bool {
    patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(value))
}

fn check_live_node(token: &Token, live: &Stream) -> Result<()> {
    if allows(&token.nodes, live.node.as_deref().unwrap_or_default()) {
        return Ok(());
    }
    let message = format!("the stream belongs to a node that the token {} may not write; use its token", token.name);
    Err(denied(&message).with_stream(&live.id))
}

fn denied(message: &str) -> Error {
    Error::new(ErrorKind::Denied, message)
}

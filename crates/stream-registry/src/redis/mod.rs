//! The Redis store.

use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;

use crate::{
    Cursor, EndOptions, Error, Page, RegisterOptions, Registered, Registry, Result, Snapshot, StoreInfo, Stream,
    StreamId, Write,
};

/// Stub.
#[derive(Clone, Debug)]
pub struct RedisOptions;

impl FromStr for RedisOptions {
    type Err = Error;
    fn from_str(_: &str) -> Result<Self> {
        Ok(Self)
    }
}

impl RedisOptions {
    /// Stub.
    #[must_use]
    pub fn ttl(self, _: Duration) -> Self {
        self
    }
    /// Stub.
    #[must_use]
    pub fn prefix(self, _: String) -> Self {
        self
    }
    /// Stub.
    #[must_use]
    pub fn read_only(self, _: bool) -> Self {
        self
    }
    /// Stub.
    #[must_use]
    pub fn token(self, _: &str) -> Self {
        self
    }
    /// Stub.
    #[must_use]
    pub fn ttl_policy(self, _: crate::TtlPolicy) -> Self {
        self
    }
}

/// Stub.
#[derive(Debug)]
pub struct RedisRegistry;

impl RedisRegistry {
    /// Stub.
    pub async fn connect(_: RedisOptions) -> Result<Self> {
        Err(Error::unsupported("not there yet"))
    }
}

#[async_trait]
impl Registry for RedisRegistry {
    async fn register_with(&self, _: &Stream, _: &RegisterOptions) -> Result<Registered> {
        Err(Error::closed())
    }
    async fn end(&self, _: &StreamId, _: &EndOptions) -> Result<Stream> {
        Err(Error::closed())
    }
    async fn write(&self, _: &[Write]) -> Result<Vec<Result<()>>> {
        Err(Error::closed())
    }
    async fn get(&self, _: &StreamId) -> Result<Stream> {
        Err(Error::closed())
    }
    async fn snapshot(&self) -> Result<Snapshot> {
        Err(Error::closed())
    }
    async fn list_page(&self, _: Option<&Cursor>, _: NonZeroU32) -> Result<Page> {
        Err(Error::closed())
    }
    async fn ping(&self) -> Result<()> {
        Err(Error::closed())
    }
    fn info(&self) -> StoreInfo {
        StoreInfo::new("stub", Duration::from_secs(300))
    }
    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

/// Stub.
#[derive(Clone, Debug)]
pub struct RedisCounters;

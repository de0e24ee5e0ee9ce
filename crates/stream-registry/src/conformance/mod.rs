//! The conformance suite: behaviours that every store must have.
//!
//! The name of a behaviour starts with the clause of `docs/semantics.md` that the behaviour checks. To run the suite on
//! your own store, implement [`Subject`], which opens an empty registry:
//!
//! ```
//! # #[tokio::main] async fn main() {
//! use std::sync::Arc;
//! use std::time::Duration;
//! use stream_registry::conformance::{self, Instance, Subject};
//! use stream_registry::{MemoryRegistry, Registry};
//!
//! struct Memory;
//!
//! #[async_trait::async_trait]
//! impl Subject for Memory {
//!     async fn open(&self, ttl: Duration) -> stream_registry::Result<Box<dyn Instance>> {
//!         Ok(Box::new(Open(Arc::new(MemoryRegistry::with_ttl(ttl)?))))
//!     }
//! }
//!
//! struct Open(Arc<dyn Registry>);
//!
//! impl Instance for Open {
//!     fn registry(&self) -> Arc<dyn Registry> {
//!         Arc::clone(&self.0)
//!     }
//! }
//!
//! let report = conformance::run_matching(Arc::new(Memory), "register/").await;
//! report.assert_passed();
//! # }
//! ```
//!
//! Some behaviours need a hook: an optional method of [`Instance`]. If the store does not implement this hook, the
//! report lists the behaviour as not applicable.

mod behaviours;
mod case;
mod report;
mod run;
mod subject;

pub use behaviours::{Behaviour, behaviours};
pub use report::{Report, Verdict};
pub use run::{run, run_matching};
pub use subject::{Instance, Subject, boxed, shared};

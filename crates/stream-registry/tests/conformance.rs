//! The conformance suite on the stores that need no server.

#![cfg(feature = "conformance")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use stream_registry::conformance::{Instance, Subject, behaviours, boxed, run, shared};
use stream_registry::mock::MockRegistry;
use stream_registry::{MemoryRegistry, Registry, Result, StreamId};

struct Memory;

#[async_trait]
impl Subject for Memory {
    async fn open(&self, ttl: Duration) -> Result<Box<dyn Instance>> {
        Ok(Box::new(OpenMemory(Arc::new(MemoryRegistry::with_ttl(ttl)?))))
    }
}

struct OpenMemory(Arc<MemoryRegistry>);

impl Instance for OpenMemory {
    fn registry(&self) -> Arc<dyn Registry> {
        Arc::clone(&self.0) as _
    }
}

struct Mock;

#[async_trait]
impl Subject for Mock {
    async fn open(&self, ttl: Duration) -> Result<Box<dyn Instance>> {
        Ok(Box::new(OpenMock(Arc::new(MockRegistry::with_ttl(ttl)?))))
    }
}

struct OpenMock(Arc<MockRegistry>);

#[async_trait]
impl Instance for OpenMock {
    fn registry(&self) -> Arc<dyn Registry> {
        Arc::clone(&self.0) as _
    }

    async fn advance(&self, by: Duration) {
        self.0.advance(by);
        // Lets the other tasks of a behaviour run, as they do on a store with a real clock.
        tokio::task::yield_now().await;
    }

    async fn put_stored(&self, id: &StreamId, json: &str) -> Option<()> {
        self.0.put_stored(id, json).ok()
    }

    async fn age(&self, _: &StreamId, by: Duration) -> Option<()> {
        // This ages all streams. Behaviours that use this hook allow that.
        self.0.advance(by);
        Some(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_passes_all_behaviours() {
    run(Arc::new(Memory)).await.assert_passed();
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_as_arc_dyn_passes_all_behaviours() {
    run(shared(Arc::new(Memory))).await.assert_passed();
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_as_box_dyn_passes_all_behaviours() {
    run(boxed(Arc::new(Memory))).await.assert_passed();
}

#[tokio::test(flavor = "multi_thread")]
async fn mock_passes_all_applicable_behaviours() {
    let report = run(Arc::new(Mock)).await;
    report.assert_passed();
    // The behaviours that do not apply are listed by name, so that no other one is skipped unnoticed.
    let skipped: Vec<_> = report.not_applicable().into_iter().filter(|name| !name.starts_with("index/")).collect();
    assert_eq!(
        skipped,
        [
            "record/is_stored_compactly_in_fixed_order",
            "lenient-reading/undecodable_record_hides_no_other_record",
            "lenient-reading/key_of_another_type_hides_no_record",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn mock_as_arc_dyn_passes_all_behaviours() {
    run(shared(Arc::new(Mock))).await.assert_passed();
}

#[test]
fn behaviour_names_are_unique_and_clauses_are_anchors_of_the_semantics() {
    let all = behaviours();
    let names: BTreeSet<_> = all.iter().map(|behaviour| behaviour.name).collect();
    assert_eq!(names.len(), all.len(), "a name occurs twice");
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/semantics.md")).unwrap();
    let anchors: BTreeSet<_> = page.split("<a id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    let clauses: BTreeSet<_> = all.iter().map(|behaviour| behaviour.clause).collect();
    let missing: Vec<_> = clauses.difference(&anchors).collect();
    assert!(missing.is_empty(), "docs/semantics.md has no anchor for {missing:?}");
    // These clauses are about Redis keys, servers and views, which have tests of their own.
    let untested: Vec<_> = anchors.difference(&clauses).copied().collect();
    assert_eq!(untested, ["full-memory", "keys", "readers", "server-list", "view"]);
}

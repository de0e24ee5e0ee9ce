//! Runs the conformance suite on the stores that need no server: the in-memory store and the mock store.

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
        // Other tasks run during this yield, as they do while a store with a real clock waits.
        tokio::task::yield_now().await;
    }

    async fn put_stored(&self, id: &StreamId, json: &str) -> Option<()> {
        self.0.put_stored(id, json).ok()
    }

    async fn age(&self, _: &StreamId, by: Duration) -> Option<()> {
        // The mock clock ages all streams at once. The behaviours that use this hook allow this.
        self.0.advance(by);
        Some(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_store_passes_all_behaviours() {
    run(Arc::new(Memory)).await.assert_passed();
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_store_behind_arc_dyn_passes_all_behaviours() {
    run(shared(Arc::new(Memory))).await.assert_passed();
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_store_behind_box_dyn_passes_all_behaviours() {
    run(boxed(Arc::new(Memory))).await.assert_passed();
}

#[tokio::test(flavor = "multi_thread")]
async fn mock_store_passes_all_applicable_behaviours() {
    let report = run(Arc::new(Mock)).await;
    report.assert_passed();
    // The test names every behaviour that does not apply. It fails if the suite skips any other behaviour.
    let skipped: Vec<_> = report.not_applicable().into_iter().filter(|name| !name.starts_with("index/")).collect();
    assert_eq!(
        skipped,
        [
            "record/stored_record_is_compact_and_has_a_fixed_field_order",
            "lenient-reading/undecodable_record_hides_no_other_record",
            "lenient-reading/value_of_the_wrong_type_hides_no_other_record",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn mock_store_behind_arc_dyn_passes_all_behaviours() {
    run(shared(Arc::new(Mock))).await.assert_passed();
}

#[test]
fn behaviours_have_unique_names_and_documented_clauses() {
    let all = behaviours();
    let names: BTreeSet<_> = all.iter().map(|behaviour| behaviour.name).collect();
    assert_eq!(names.len(), all.len(), "a name occurs twice");
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/semantics.md")).unwrap();
    let anchors: BTreeSet<_> = page.split("<a id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    let clauses: BTreeSet<_> = all.iter().map(|behaviour| behaviour.clause).collect();
    let missing: Vec<_> = clauses.difference(&anchors).collect();
    assert!(missing.is_empty(), "docs/semantics.md has no anchor for {missing:?}");
    // These clauses describe Redis keys, clusters, servers and views. Other tests check them.
    let untested: Vec<_> = anchors.difference(&clauses).copied().collect();
    assert_eq!(untested, ["cluster", "full-memory", "keys", "readers", "server-list", "view"]);
}

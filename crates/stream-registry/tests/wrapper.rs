//! Wrappers made with `forward_registry!`: which methods call the inner store, and which call the wrapper itself.

#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

use std::future::Future;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use stream_registry::mock::MockRegistry;
use stream_registry::query::{By, Filter, Query};
use stream_registry::registry::{Operation, Page};
use stream_registry::{
    Change, Cursor, Error, ErrorKind, MemoryRegistry, Registry, Result, Snapshot, Stream, StreamId, StreamStats,
    StreamStatus, StreamType, Write, forward_registry,
};

/// A store that records the address of the future from its last `ping`.
#[derive(Debug, Default)]
struct Addressed {
    inner: MemoryRegistry,
    address: AtomicUsize,
}

fn address<T: ?Sized>(future: &T) -> usize {
    std::ptr::from_ref(future).cast::<()>() as usize
}

#[deny(clippy::missing_trait_methods)]
impl Registry for Addressed {
    fn ping<'life0, 'async_trait>(&'life0 self) -> Pin<Box<dyn Future<Output = Result<()>> + Send + 'async_trait>>
    where
        'life0: 'async_trait,
        Self: 'async_trait,
    {
        // The future owns a value, because a zero-sized future has no unique address.
        let answer = Box::pin(std::future::ready(Ok(())));
        self.address.store(address(&*answer), Ordering::Relaxed);
        answer
    }

    forward_registry!(|this| this.inner => register_with, unregister_with, write, get, snapshot, list_page, info, now, close);
    forward_registry!(|this| this.inner => metrics, watch, get_many, find, summary, history, register_new, conveniences);
}

#[test]
fn arc_and_box_wrappers_return_the_future_of_the_store() {
    let store = Arc::new(Addressed::default());
    let returned = Registry::ping(&store);
    assert_eq!(address(&*returned), store.address.load(Ordering::Relaxed));

    let boxed: Box<dyn Registry> = Box::new(Arc::clone(&store));
    let returned = Registry::ping(&boxed);
    assert_eq!(address(&*returned), store.address.load(Ordering::Relaxed));
}

/// A store that restarts after the first page, so that the cursor of the first page is no longer valid.
#[derive(Debug, Default)]
struct Restarting(MemoryRegistry);

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Registry for Restarting {
    async fn list_page(&self, cursor: Option<&Cursor>, _: NonZeroU32) -> Result<Page> {
        match cursor {
            None => self.0.list_page(None, NonZeroU32::MIN).await,
            Some(_) => Err(Error::new(ErrorKind::InvalidCursor, "the store has restarted")),
        }
    }

    forward_registry!(|this| this.0 => register_with, unregister_with, write, get, snapshot, info, now, close, watch, ping);
    forward_registry!(provided => metrics, get_many, find, summary, history, register_new, conveniences);
}

#[tokio::test]
async fn find_and_summary_are_unavailable_when_the_store_restarts_between_two_pages() {
    let store = Restarting::default();
    for name in ["a", "b"] {
        store.register(&Stream::new(name.parse().unwrap(), StreamType::Srt, "h:1")).await.unwrap();
    }
    let found = store.find(&Query::default()).await.unwrap_err();
    let summed = store.summary(&Filter::default(), By::Type).await.unwrap_err();
    for error in [found, summed] {
        // The caller has given no cursor, so the error is not about one.
        assert_eq!((error.kind(), error.message()), (ErrorKind::Unavailable, "the store has restarted"));
    }
}

/// A wrapper that records the calls of its own `write`, `snapshot` and `get`.
#[derive(Debug)]
struct Recorder {
    inner: Arc<MockRegistry>,
    called: Mutex<Vec<&'static str>>,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Registry for Recorder {
    async fn write(&self, writes: &[Write]) -> Result<Vec<Result<()>>> {
        self.called.lock().unwrap().push("write");
        self.inner.write(writes).await
    }

    async fn snapshot(&self) -> Result<Snapshot> {
        self.called.lock().unwrap().push("snapshot");
        self.inner.snapshot().await
    }

    async fn get(&self, id: &StreamId) -> Result<Stream> {
        self.called.lock().unwrap().push("get");
        self.inner.get(id).await
    }

    forward_registry!(|this| this.inner => register_with, unregister_with, list_page, ping, info, now, close);
    forward_registry!(|this| *this.inner => find, summary, history, register_new);
    forward_registry!(provided => metrics, watch, get_many, conveniences);
}

#[tokio::test]
async fn provided_methods_call_the_wrapper_and_forwarded_methods_call_the_store() {
    let store = Arc::new(MockRegistry::new());
    let wrapper = Recorder { inner: Arc::clone(&store), called: Mutex::default() };
    let id = StreamId::new("cam1").unwrap();
    let mut stream = wrapper.register(&Stream::new(id.clone(), StreamType::Srt, "a:1")).await.unwrap().stream;

    wrapper.update_heartbeat(&id).await.unwrap();
    wrapper.update_status(&id, StreamStatus::Active).await.unwrap();
    wrapper.update_stats(&id, &StreamStats::default()).await.unwrap();
    wrapper.patch(&id, &stream_registry::StreamPatch::default()).await.unwrap();
    stream.resolution = "1920x1080".into();
    wrapper.update(&stream).await.unwrap();
    wrapper.write_one(Write::new(&id, Change::Heartbeat)).await.unwrap();
    assert_eq!(wrapper.list().await.unwrap()[0].resolution, "1920x1080");
    assert!(wrapper.get_many(std::slice::from_ref(&id)).await.unwrap()[0].is_some());
    assert_eq!(wrapper.find(&Query::default()).await.unwrap().total, 1);
    assert_eq!(wrapper.summary(&Filter::default(), By::Node).await.unwrap().total, 1);
    let error = wrapper.watch(stream_registry::watch::WatchFrom::Now).await.unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::Unsupported, Some(Operation::Watch)));
    assert_eq!(wrapper.delete(&id).await.unwrap().id, id);
    assert_eq!(wrapper.unregister(&id).await.unwrap_err().kind(), ErrorKind::NotFound);

    let called = wrapper.called.into_inner().unwrap();
    assert_eq!(called, ["write", "write", "write", "write", "write", "write", "snapshot", "get"]);
    let operations: Vec<_> = store.calls().iter().map(|call| call.operation).collect();
    assert_eq!(operations[0], Operation::Register);
    assert_eq!(operations[operations.len() - 2..], [Operation::Unregister, Operation::Unregister]);
}

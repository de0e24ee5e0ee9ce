//! The macro [`forward_registry!`](crate::forward_registry), which generates methods of wrappers.

use std::sync::Arc;

use super::Registry;

/// Implements methods of [`Registry`](crate::Registry) in a wrapper, inside its `impl` block.
///
/// There are two forms:
///
/// * `forward_registry!(|this| this.inner => get, ping, …);` forwards the methods to an inner registry. `this` is
///   the wrapper, and the expression `this.inner` returns the inner registry. A forwarded method returns the future
///   of the inner registry, without an allocation.
/// * `forward_registry!(provided => find, conveniences);` uses the implementations that the trait provides. These
///   call the wrapper's own required methods. Use this form if the wrapper changes one of those required methods.
///
/// Two names stand for groups of methods. `all` stands for every method and is accepted only by the first form.
/// `conveniences` stands for the last group of the trait: `register`, `unregister`, `delete`, `list`, `write_one`,
/// `update_heartbeat`, `update_status`, `update_stats`, `patch` and `update`.
///
/// One `impl` block can contain both forms and methods written by hand. The attribute
/// `#[deny(clippy::missing_trait_methods)]` makes Clippy report missing methods.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> stream_registry::Result<()> {
/// use std::sync::Arc;
/// use stream_registry::{MemoryRegistry, Registry, forward_registry};
///
/// #[derive(Debug)]
/// struct Shared(Arc<dyn Registry>);
///
/// #[deny(clippy::missing_trait_methods)]
/// impl Registry for Shared {
///     forward_registry!(|this| this.0 => all);
/// }
///
/// let registry = Shared(Arc::new(MemoryRegistry::new()));
/// assert_eq!(registry.info().kind, "memory");
/// # Ok(()) }
/// ```
///
/// See [`Registry`](crate::Registry#wrappers) for a wrapper that changes a method.
#[macro_export]
macro_rules! forward_registry {
    (|$this:ident| $inner:expr => $($method:ident),+ $(,)?) => {
        $crate::__forward_registry!(@methods [forward $this $inner] $($method)+);
    };
    (provided => $($method:ident),+ $(,)?) => {
        $crate::__forward_registry!(@methods [provided] $($method)+);
    };
}

/// The implementation of [`forward_registry!`](crate::forward_registry). Each method has an arm with its signature.
/// The arm `@define` generates the function.
///
/// `async_trait` cannot expand functions that another macro generates. So this macro generates the signature that
/// `async_trait` would produce.
#[doc(hidden)]
#[macro_export]
macro_rules! __forward_registry {
    (@methods $how:tt $($method:ident)+) => {
        $($crate::__forward_registry!($method $how);)+
    };
    (all $how:tt) => {
        $crate::__forward_registry!(@methods $how register_with unregister_with write get snapshot list_page ping info now close metrics
            watch get_many find summary history register_new conveniences);
    };
    (conveniences $how:tt) => {
        $crate::__forward_registry!(@methods $how register unregister delete list write_one update_heartbeat update_status
            update_stats patch update);
    };

    (register_with $how:tt) => { $crate::__forward_registry!(@define $how register_with ['life1 'life2]
        (stream: &'life1 $crate::Stream, options: &'life2 $crate::RegisterOptions) -> $crate::Registered); };
    (unregister_with $how:tt) => { $crate::__forward_registry!(@define $how unregister_with ['life1 'life2]
        (id: &'life1 $crate::StreamId, options: &'life2 $crate::UnregisterOptions) -> $crate::Stream); };
    (write $how:tt) => { $crate::__forward_registry!(@define $how write ['life1]
        (writes: &'life1 [$crate::Write]) -> ::std::vec::Vec<$crate::Result<()>>); };
    (get $how:tt) => { $crate::__forward_registry!(@define $how get ['life1]
        (id: &'life1 $crate::StreamId) -> $crate::Stream); };
    (snapshot $how:tt) => { $crate::__forward_registry!(@define $how snapshot [] () -> $crate::Snapshot); };
    (list_page $how:tt) => { $crate::__forward_registry!(@define $how list_page ['life1]
        (cursor: ::std::option::Option<&'life1 $crate::Cursor>, count: ::std::num::NonZeroU32) -> $crate::Page); };
    (ping $how:tt) => { $crate::__forward_registry!(@define $how ping [] () -> ()); };
    (info [forward $this:ident $inner:expr]) => {
        fn info(&self) -> $crate::registry::StoreInfo {
            let $this = self;
            $crate::Registry::info(&$inner)
        }
    };
    (now [forward $this:ident $inner:expr]) => {
        fn now(&self) -> $crate::Timestamp {
            let $this = self;
            $crate::Registry::now(&$inner)
        }
    };
    (now [provided]) => {
        fn now(&self) -> $crate::Timestamp {
            $crate::Timestamp::now()
        }
    };
    (metrics [forward $this:ident $inner:expr]) => {
        fn metrics(&self) -> $crate::metrics::MetricsSnapshot {
            let $this = self;
            $crate::Registry::metrics(&$inner)
        }
    };
    (metrics [provided]) => {
        fn metrics(&self) -> $crate::metrics::MetricsSnapshot {
            $crate::metrics::MetricsSnapshot::default()
        }
    };
    (close $how:tt) => { $crate::__forward_registry!(@define $how close [] () -> ()); };

    (watch $how:tt) => { $crate::__forward_registry!(@define $how watch []
        (from: $crate::watch::WatchFrom) -> $crate::watch::Watch); };
    (get_many $how:tt) => { $crate::__forward_registry!(@define $how get_many ['life1]
        (ids: &'life1 [$crate::StreamId]) -> ::std::vec::Vec<::std::option::Option<$crate::Stream>>); };
    (find $how:tt) => { $crate::__forward_registry!(@define $how find ['life1]
        (query: &'life1 $crate::query::Query) -> $crate::Page); };
    (summary $how:tt) => { $crate::__forward_registry!(@define $how summary ['life1]
        (filter: &'life1 $crate::query::Filter, by: $crate::query::By) -> $crate::query::Summary); };
    (history $how:tt) => { $crate::__forward_registry!(@define $how history ['life1]
        (ended: &'life1 $crate::query::Ended, limit: ::std::num::NonZeroU32) -> ::std::vec::Vec<$crate::watch::Event>); };
    (register_new $how:tt) => { $crate::__forward_registry!(@define $how register_new ['life1 'life2]
        (stream: &'life1 $crate::Stream, options: &'life2 $crate::RegisterOptions) -> $crate::Registered); };

    (register $how:tt) => { $crate::__forward_registry!(@define $how register ['life1]
        (stream: &'life1 $crate::Stream) -> $crate::Registered); };
    (unregister $how:tt) => { $crate::__forward_registry!(@define $how unregister ['life1]
        (id: &'life1 $crate::StreamId) -> $crate::Stream); };
    (delete $how:tt) => { $crate::__forward_registry!(@define $how delete ['life1]
        (id: &'life1 $crate::StreamId) -> $crate::Stream); };
    (list $how:tt) => { $crate::__forward_registry!(@define $how list [] () -> ::std::vec::Vec<$crate::Stream>); };
    (write_one $how:tt) => { $crate::__forward_registry!(@define $how write_one [] (write: $crate::Write) -> ()); };
    (update_heartbeat $how:tt) => { $crate::__forward_registry!(@define $how update_heartbeat ['life1]
        (id: &'life1 $crate::StreamId) -> ()); };
    (update_status $how:tt) => { $crate::__forward_registry!(@define $how update_status ['life1]
        (id: &'life1 $crate::StreamId, status: $crate::StreamStatus) -> ()); };
    (update_stats $how:tt) => { $crate::__forward_registry!(@define $how update_stats ['life1 'life2]
        (id: &'life1 $crate::StreamId, stats: &'life2 $crate::StreamStats) -> ()); };
    (patch $how:tt) => { $crate::__forward_registry!(@define $how patch ['life1 'life2]
        (id: &'life1 $crate::StreamId, patch: &'life2 $crate::StreamPatch) -> ()); };
    (update $how:tt) => { $crate::__forward_registry!(@define $how update ['life1]
        (stream: &'life1 $crate::Stream) -> ()); };

    (@define $how:tt $name:ident [$($life:lifetime)*] ($($arg:ident: $type:ty),*) -> $output:ty) => {
        fn $name<'life0, $($life,)* 'async_trait>(
            &'life0 self,
            $($arg: $type,)*
        ) -> ::std::pin::Pin<::std::boxed::Box<
            dyn ::std::future::Future<Output = $crate::Result<$output>> + ::std::marker::Send + 'async_trait,
        >>
        where
            'life0: 'async_trait,
            $($life: 'async_trait,)*
            Self: 'async_trait,
        {
            $crate::__forward_registry!(@call $how self $name $($arg)*)
        }
    };
    (@call [forward $this:ident $inner:expr] $self:ident $name:ident $($arg:ident)*) => {{
        let $this = $self;
        $crate::Registry::$name(&$inner, $($arg),*)
    }};
    (@call [provided] $self:ident $name:ident $($arg:ident)*) => {
        ::std::boxed::Box::pin($crate::registry::provided::$name($self, $($arg),*))
    };
}

#[deny(clippy::missing_trait_methods)]
impl<R: Registry + ?Sized> Registry for Arc<R> {
    crate::forward_registry!(|this| **this => all);
}

#[deny(clippy::missing_trait_methods)]
impl<R: Registry + ?Sized> Registry for Box<R> {
    crate::forward_registry!(|this| **this => all);
}

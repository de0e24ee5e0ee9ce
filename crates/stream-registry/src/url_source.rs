//! A function that reads a store's URL again.

use std::fmt;
use std::io;
use std::sync::Arc;

/// A function that reads the URL of a store again, for example from a file or from a secret manager.
///
/// A Redis store calls the function if the server rejects the user name or password, at most once per connection
/// attempt. The store uses only the user name and the password of the URL. So a password can be changed without a
/// restart. The function may block, because it runs on a thread for blocking calls.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use stream_registry::{ConnectOptions, UrlSource};
///
/// let read = || std::fs::read_to_string("/etc/streamreg/store");
/// let options = ConnectOptions::default().url_source(UrlSource::new(read));
/// let registry = stream_registry::connect_with(&read()?, &options).await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct UrlSource(Arc<dyn Fn() -> io::Result<String> + Send + Sync>);

impl UrlSource {
    /// Wraps a function that returns the URL. Spaces and line ends around the URL are ignored.
    pub fn new(read: impl Fn() -> io::Result<String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// Reads the URL. Blocks as long as the function does.
    #[cfg_attr(not(feature = "redis"), allow(dead_code))]
    pub(crate) fn read(&self) -> io::Result<String> {
        (self.0)()
    }
}

/// Two sources are equal if they share the same function.
impl PartialEq for UrlSource {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for UrlSource {}

impl fmt::Debug for UrlSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UrlSource")
    }
}

//! Passwords that change while a registry or a process is running.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use stream_registry::{ConnectOptions, ErrorKind, Registry, UrlSource, connect_with};
use testkit::{RedisServer, TestTls, wait_until};

use super::{TIMEOUT, id, stream};
use crate::cli::{Running, Server, done, write_private};

const OLD: &str = "old-pw-1";
const NEW: &str = "new-pw-2";

async fn start() -> RedisServer {
    RedisServer::builder().password(OLD).start().await
}

/// Changes the password, and disconnects all clients.
async fn change_password(server: &RedisServer, password: &str) {
    assert_eq!(server.cli(&["CONFIG", "SET", "requirepass", password]).await, "OK");
    disconnect(server).await;
}

async fn disconnect(server: &RedisServer) {
    assert_ne!(server.cli(&["CLIENT", "KILL", "SKIPME", "yes"]).await, "0", "no connection was killed");
}

/// A source of URLs that counts how often it is read, and its counter.
fn counted(read: impl Fn() -> io::Result<String> + Send + Sync + 'static) -> (UrlSource, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let source = UrlSource::new(move || {
        counter.fetch_add(1, Ordering::SeqCst);
        read()
    });
    (source, count)
}

#[tokio::test(flavor = "multi_thread")]
async fn registry_reads_a_changed_password_from_its_source() {
    let server = start().await;
    let url = server.url_as("", NEW) + "\n";
    let (source, reads) = counted(move || Ok(url.clone()));
    let options = ConnectOptions::default().url_source(source);
    let registry = connect_with(&server.url_as("", OLD), &options).await.unwrap();
    registry.register(&stream("cam1", "203.0.113.7:40112")).await.unwrap();
    assert_eq!(reads.load(Ordering::SeqCst), 0, "the source was read although the password is right");
    change_password(&server, NEW).await;
    wait_until(TIMEOUT, async || registry.get(&id("cam1")).await.is_ok()).await;
    assert_eq!(registry.list().await.unwrap().len(), 1, "the connection for lists has the old password");
    assert_eq!(reads.load(Ordering::SeqCst), 1, "the connections share the new password");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_attempt_reads_the_source_at_most_once() {
    let server = start().await;
    let wrong = server.url_as("", "wrong-pw");
    let others = [Ok(wrong.clone()), Ok(server.url_as("", "wrong-too")), Ok("nonsense".to_owned()), Err(())];
    for other in others {
        let (source, reads) = counted(move || other.clone().map_err(|()| io::Error::other("gone")));
        let options = ConnectOptions::default().url_source(source);
        let error = connect_with(&wrong, &options).await.err().unwrap();
        assert_eq!((error.kind(), reads.load(Ordering::SeqCst)), (ErrorKind::Unauthenticated, 1), "{error:?}");
        assert!(!format!("{error:?}").contains("wrong-"), "{error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn registry_recovers_if_its_source_gets_the_new_password_late() {
    let server = start().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("store");
    let url = server.url_as("", OLD);
    write_private(&file, &url);
    let path = file.clone();
    let options = ConnectOptions::default().url_source(UrlSource::new(move || std::fs::read_to_string(&path)));
    let registry = connect_with(&url, &options).await.unwrap();
    change_password(&server, NEW).await;
    let rejected = async || registry.ping().await.is_err_and(|error| error.kind() == ErrorKind::Unauthenticated);
    wait_until(TIMEOUT, rejected).await;
    write_private(&file, server.url_as("", NEW));
    wait_until(TIMEOUT, async || registry.ping().await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_keep_going_after_the_password_in_the_store_file_has_changed() {
    let tls = TestTls::new();
    let server = RedisServer::builder().tls(&tls).user("ingest", &format!("on >{OLD} ~* &* +@all")).start().await;
    let url = |password: &str| server.tls_url().replacen("rediss://", &format!("rediss://ingest:{password}@"), 1);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("store");
    write_private(&file, url(OLD) + "\n");
    let store = ["--store-file", file.to_str().unwrap()];
    let serve = Server::start(&store);
    let cam1 = ["register", "--hold", "--id", "cam1", "--type", "srt", "--source", "203.0.113.7:40112", "--ttl", "3s"];
    let mut holder = Running::start(&[&cam1[..], &store].concat());
    holder.line_with("is held");
    let record = async || server.cli(&["GET", "mirror:streams:cam1"]).await;
    let first = record().await;

    write_private(&file, url(NEW) + "\n");
    assert_eq!(server.cli(&["ACL", "SETUSER", "ingest", "resetpass", &format!(">{NEW}")]).await, "OK");
    disconnect(&server).await;

    assert_eq!(serve.run(&["register", "--id", "cam2", "--type", "srt", "--source", "203.0.113.7:1"]), done("cam2\n"));
    // The heartbeats of three lifetimes have reached the store, and the stream was never registered again.
    let nanos = |record: &str, field: &str| -> i128 {
        let record: serde_json::Value = serde_json::from_str(record).unwrap();
        let stream = stream_registry::Stream::from_json(&record.to_string()).unwrap();
        let time = if field == "created" { stream.created_at } else { stream.last_heartbeat };
        time.as_unix_nanos()
    };
    let created = nanos(&first, "created");
    wait_until(TIMEOUT * 3, async || nanos(&record().await, "heartbeat") - created > 9_000_000_000).await;
    assert_eq!(nanos(&record().await, "created"), created);
    holder.signal("TERM");
    assert_eq!(holder.ended(), Some(0));
    // The next process starts with the new password.
    let mut list = crate::cli::program(&["list", "--output", "jsonl"]);
    let (status, stdout, stderr) = crate::cli::outcome(list.args(store).output().unwrap());
    assert_eq!((status, stdout.lines().count()), (Some(0), 1), "{stderr}");
}

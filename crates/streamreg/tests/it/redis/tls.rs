//! TLS connections to Redis: trust, names, client certificates, wrong ports and rotated files.

use std::num::NonZeroU32;
use std::path::Path;

use stream_registry::watch::{ChangeKind, Event, WatchFrom};
use stream_registry::{Error, ErrorKind, Registry, connect};
use testkit::{CapturedLog, Data, RedisServer, TestTls, wait_until};
use tokio::net::TcpListener;

use super::feed::next;
use super::{PASSWORD, TIMEOUT, assert_no_secret, id, stream};
use crate::cli::{outcome, program};
use crate::http::kit::within;

/// Starts a server that demands no client certificate.
async fn start(tls: &TestTls) -> RedisServer {
    RedisServer::builder().tls(tls).start().await
}

async fn start_mutual(tls: &TestTls) -> RedisServer {
    RedisServer::builder().tls(tls).config("tls-auth-clients yes").start().await
}

/// Returns the parameters of the client's certificate.
fn identity(tls: &TestTls) -> String {
    format!("&cert={}&key={}", tls.client_cert().display(), tls.client_key().display())
}

async fn fault(url: &str) -> Error {
    connect(url).await.err().unwrap_or_else(|| panic!("{url} is accepted"))
}

/// Asserts the kind of the error of a URL, and that the message has each of these parts.
async fn assert_fault(url: &str, kind: ErrorKind, parts: &[&str]) {
    let error = fault(url).await;
    assert_eq!(error.kind(), kind, "{url}: {error:?}");
    for part in parts {
        assert!(error.message().contains(part), "{url}: {error} does not contain {part:?}");
    }
}

async fn connections(server: &RedisServer) -> u64 {
    let info = server.cli(&["INFO", "stats"]).await;
    let count = info.lines().find_map(|line| line.strip_prefix("total_connections_received:"));
    count.unwrap().trim().parse().unwrap()
}

async fn kill_connections(server: &RedisServer) {
    assert_ne!(server.cli(&["CLIENT", "KILL", "SKIPME", "yes"]).await, "0", "no connection was killed");
}

#[tokio::test]
async fn list_of_10_000_streams_arrives_over_a_separate_tls_connection() {
    let tls = TestTls::new();
    let server = start(&tls).await;
    let registry = connect(&server.tls_url()).await.unwrap();
    let mut raw = server.client().get_multiplexed_async_connection().await.unwrap();
    let record = stream("cam", "203.0.113.7:40112").to_json();
    let mut pipeline = redis::pipe();
    for at in 0..10_000 {
        let id = format!("cam{at}");
        let record = record.replacen("\"cam\"", &format!("\"{id}\""), 1);
        pipeline.cmd("SET").arg(format!("mirror:streams:{id}")).arg(record).arg("PX").arg(600_000).ignore();
        pipeline.cmd("SADD").arg("mirror:streams:active").arg(id).ignore();
    }
    let () = pipeline.query_async(&mut raw).await.unwrap();
    // The first list also opens the shared connection for lists.
    assert_eq!(registry.list().await.unwrap().len(), 10_000);
    let before = connections(&server).await;
    assert_eq!(registry.list().await.unwrap().len(), 10_000);
    // One of the two new connections is that of `redis-cli`.
    assert_eq!(connections(&server).await - before, 2, "the list did not use a separate connection");
}

#[tokio::test]
async fn watch_over_tls_continues_after_its_connection_is_killed() {
    let tls = TestTls::new();
    let server = start(&tls).await;
    let registry = connect(&server.tls_url()).await.unwrap();
    let mut watch = registry.watch(WatchFrom::Now).await.unwrap();
    for name in ["cam1", "cam2"] {
        // The first call after the kill fails if it is sent before the client notices that the connection is closed.
        within(async {
            while let Err(error) = registry.register(&stream(name, "203.0.113.7:40112")).await {
                assert!(error.is_retryable(), "{error:?}");
            }
        })
        .await;
        match next(&mut watch).await {
            Event::Changed { kind: ChangeKind::Registered, stream, .. } => assert_eq!(stream.id, id(name)),
            other => panic!("{other:?}"),
        }
        kill_connections(&server).await;
    }
}

#[tokio::test]
async fn ca_that_did_not_sign_the_certificate_is_rejected() {
    let (mut tls, other) = (TestTls::new(), TestTls::new());
    let earlier = tls.ca_file().with_file_name("earlier.pem");
    std::fs::copy(tls.ca_file(), &earlier).unwrap();
    tls.replace_ca();
    let server = start(&tls).await;
    connect(&server.tls_url()).await.unwrap();
    // A CA of another name, and one of the same name with another key.
    for ca in [other.ca_file(), earlier] {
        let ca = ca.display().to_string();
        let error = fault(&format!("rediss://u:{PASSWORD}@{}?ca={ca}", server.addr())).await;
        assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error:?}");
        assert!(error.message().contains("is not signed by a CA in") && error.message().contains(&ca), "{error}");
        assert_no_secret(&error);
    }
}

#[tokio::test]
async fn cas_of_the_system_are_used_if_the_url_has_no_ca() {
    let (tls, other) = (TestTls::new(), TestTls::new());
    let server = start(&tls).await;
    let url = format!("rediss://{}", server.addr());
    // A process of its own, because this variable replaces the CAs of the system.
    let list = |ca: &Path| {
        let mut command = program(&["list", "--output", "jsonl", "--store", &url]);
        outcome(command.env("SSL_CERT_FILE", ca).env_remove("SSL_CERT_DIR").output().unwrap())
    };
    let (status, _, stderr) = list(&tls.ca_file());
    assert_eq!(status, Some(0), "{stderr}");
    let (status, _, stderr) = list(&other.ca_file());
    assert_eq!(status, Some(1), "{stderr}");
    assert!(stderr.contains("is not signed by a CA of this system; add ca=FILE to the store URL"), "{stderr}");
}

#[tokio::test]
async fn certificate_for_another_name_needs_the_server_name() {
    let tls = TestTls::new();
    tls.issue_server(&["redis.example"]);
    let server = start(&tls).await;
    let url = server.tls_url();
    let parts = ["valid for", "redis.example", "not for 127.0.0.1", "server_name=NAME"];
    assert_fault(&url, ErrorKind::Unauthenticated, &parts).await;
    let named = |name: &str| format!("{url}&server_name={name}");
    assert_fault(&named("other.example"), ErrorKind::Unauthenticated, &["not for other.example"]).await;
    assert_fault(&named("a%20b"), ErrorKind::InvalidArgument, &["correct server_name"]).await;
    connect(&named("redis.example")).await.unwrap().ping().await.unwrap();
}

#[tokio::test]
async fn expired_certificate_is_rejected() {
    let tls = TestTls::new();
    tls.issue_expired_server();
    let server = start(&tls).await;
    assert_fault(&server.tls_url(), ErrorKind::Unauthenticated, &["has expired; renew it"]).await;
}

#[tokio::test]
async fn certificate_of_the_ca_itself_is_rejected_with_a_hint() {
    let tls = TestTls::new();
    tls.use_ca_as_server();
    let server = start(&tls).await;
    let parts = ["is the certificate of a CA; sign a certificate for the server"];
    assert_fault(&server.tls_url(), ErrorKind::Unauthenticated, &parts).await;
}

#[tokio::test]
async fn client_certificate_is_sent_if_the_server_demands_it() {
    let (tls, other) = (TestTls::new(), TestTls::new());
    for versions in ["TLSv1.2", "TLSv1.3"] {
        let server = RedisServer::builder().tls(&tls).config("tls-auth-clients yes");
        let server = server.config(format!("tls-protocols {versions}")).start().await;
        let url = server.tls_url();
        assert_fault(&url, ErrorKind::Unauthenticated, &["demands a client certificate", "cert=FILE", "key=FILE"])
            .await;
        let foreign = url.clone() + &identity(&other);
        assert_fault(&foreign, ErrorKind::Unauthenticated, &["rejected the client certificate", "client.pem"]).await;
        let registry = connect(&(url + &identity(&tls))).await.unwrap();
        assert_eq!(registry.list().await.unwrap(), []);
    }
}

#[tokio::test]
async fn insecure_accepts_every_certificate_and_logs_a_warning() {
    let tls = TestTls::new();
    tls.issue_expired_server();
    let server = start(&tls).await;
    let log = CapturedLog::start();
    let url = format!("rediss://{}?insecure=true", server.addr());
    connect(&url).await.unwrap().ping().await.unwrap();
    assert!(log.text().contains("WARN") && log.text().contains("insecure=true"), "{}", log.text());
    let (status, _, stderr) = outcome(program(&["list", "--store", &url]).output().unwrap());
    assert_eq!(status, Some(0), "{stderr}");
    assert!(stderr.contains("warning: insecure=true"), "{stderr}");
}

#[tokio::test]
async fn tls_url_to_a_port_without_tls_is_reported() {
    let server = RedisServer::start().await;
    // Depending on the random bytes of the handshake, Redis replies with an error, closes the connection or waits.
    let error = fault(&format!("rediss://{}?insecure=true", server.addr())).await;
    let expected =
        ["TLS handshake; if its port is not a TLS port, use redis://", "does not use TLS", "in the TLS handshake"];
    assert!(expected.iter().any(|part| error.message().contains(part)), "{error:?}");
    let silent = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("rediss://{}?insecure=true", silent.local_addr().unwrap());
    assert_fault(&url, ErrorKind::Unavailable, &["does not answer the TLS handshake", "use redis://"]).await;
    let http = crate::wrong_server::server_that_replies(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    let url = format!("rediss://{http}?insecure=true");
    assert_fault(&url, ErrorKind::Unsupported, &["does not use TLS; use redis://"]).await;
    let closing = crate::wrong_server::server_that_replies(b"").await;
    let url = format!("rediss://{closing}?insecure=true");
    assert_fault(&url, ErrorKind::Unavailable, &["closed the connection in the TLS handshake"]).await;
}

#[tokio::test]
async fn plain_url_to_a_tls_port_names_rediss() {
    let tls = TestTls::new();
    let server = start(&tls).await;
    let error = fault(&server.url()).await;
    assert!(error.message().contains("rediss://"), "{error:?}");
}

#[tokio::test]
async fn unusable_files_are_usage_errors_that_name_the_parameter() {
    let tls = TestTls::new();
    let other = TestTls::new();
    let server = start_mutual(&tls).await;
    let empty = tls.ca_file().with_file_name("empty.pem");
    std::fs::write(&empty, "nothing").unwrap();
    let invalid = tls.ca_file().with_file_name("invalid.pem");
    std::fs::write(&invalid, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
    let (ca, cert, key) = (tls.ca_file(), tls.client_cert(), tls.client_key());
    let other_key = other.client_key();
    let missing = Path::new("/nonexistent/file.pem");
    for (ca, cert, key, expected) in [
        (missing, &*cert, &*key, "cannot read the file in ca: /nonexistent/file.pem"),
        (&ca, missing, &key, "cannot read the file in cert: /nonexistent/file.pem"),
        (&ca, &cert, missing, "cannot read the file in key: /nonexistent/file.pem"),
        (&empty, &cert, &key, "the file in ca holds no certificate in PEM format"),
        (&invalid, &cert, &key, "the file in ca holds an invalid certificate"),
        (&ca, &empty, &key, "the file in cert holds no certificate in PEM format"),
        (&ca, &cert, &empty, "the file in key holds no unencrypted private key in PEM format"),
        (&ca, &cert, &other_key, "the files in cert and key do not belong together"),
    ] {
        let files = format!("?ca={}&cert={}&key={}", ca.display(), cert.display(), key.display());
        let url = format!("rediss://{}{files}", server.addr());
        assert_fault(&url, ErrorKind::InvalidArgument, &[expected]).await;
    }
    let url = format!("rediss://{}?ca=/nonexistent/file.pem", server.addr());
    let (status, _, stderr) = outcome(program(&["list", "--store", &url]).output().unwrap());
    assert_eq!(status, Some(2), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn registry_reconnects_with_a_new_ca_and_new_certificates() {
    let mut tls = TestTls::new();
    let mut server = start_mutual(&tls).await;
    let registry = connect(&(server.tls_url() + &identity(&tls))).await.unwrap();
    registry.register(&stream("cam1", "203.0.113.7:40112")).await.unwrap();
    tls.replace_ca();
    server.restart(Data::Kept).await;
    wait_until(TIMEOUT, async || registry.ping().await.is_ok()).await;
    assert_eq!(registry.list_page(None, NonZeroU32::MIN).await.unwrap().streams.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn registry_keeps_the_last_good_files_while_new_ones_are_unusable() {
    let tls = TestTls::new();
    let server = start(&tls).await;
    let copy = tls.ca_file().with_file_name("copy.pem");
    std::fs::copy(tls.ca_file(), &copy).unwrap();
    let registry = connect(&format!("rediss://{}?ca={}", server.addr(), copy.display())).await.unwrap();
    for content in [Some("-----BEGIN CERTIFICATE-----\nAA"), Some(""), None] {
        match content {
            Some(content) => std::fs::write(&copy, content).unwrap(),
            None => std::fs::remove_file(&copy).unwrap(),
        }
        kill_connections(&server).await;
        let before = connections(&server).await;
        wait_until(TIMEOUT, async || registry.ping().await.is_ok()).await;
        assert!(connections(&server).await - before >= 2, "the registry did not reconnect");
    }
    // A new certificate of another CA is used at the next connection, although it does not fit.
    std::fs::copy(TestTls::new().ca_file(), &copy).unwrap();
    kill_connections(&server).await;
    wait_until(TIMEOUT, async || registry.ping().await.is_err_and(|error| error.kind() == ErrorKind::Unauthenticated))
        .await;
    // The registry keeps reconnecting, so it recovers without a restart.
    std::fs::copy(tls.ca_file(), &copy).unwrap();
    wait_until(TIMEOUT, async || registry.ping().await.is_ok()).await;
}

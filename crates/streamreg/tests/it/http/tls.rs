//! HTTPS: trust, client certificates, changed files, slow and plain clients, and the command line.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;
use stream_registry::watch::{ChangeKind, Event, WatchFrom};
use stream_registry::{ErrorKind, MemoryRegistry, Registry, connect};
use streamreg::server::{ServeOptions, ServerTls};
use testkit::{CapturedLog, TestTls, wait_until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::kit::{CAM, LIST, PATIENCE, Server, id, stream, within};
use super::watch::next_change;
use crate::cli::{self, outcome, program};

pub(crate) fn options(tls: &TestTls) -> ServeOptions {
    ServeOptions::default().tls(ServerTls::open(tls.server_cert(), tls.server_key(), None).unwrap())
}

async fn start(tls: &TestTls) -> Server {
    Server::start(Arc::new(MemoryRegistry::new()), options(tls)).await
}

async fn start_mutual(tls: &TestTls) -> Server {
    let mutual = ServerTls::open(tls.server_cert(), tls.server_key(), Some(tls.ca_file())).unwrap();
    Server::start(Arc::new(MemoryRegistry::new()), ServeOptions::default().tls(mutual)).await
}

fn url(server: &Server, tls: &TestTls) -> String {
    format!("https://{}?ca={}", server.addr, tls.ca_file().display())
}

fn identity(tls: &TestTls) -> String {
    format!("&cert={}&key={}", tls.client_cert().display(), tls.client_key().display())
}

/// Asserts the kind of the error of a URL, and that the message has this part.
async fn assert_fault(url: &str, kind: ErrorKind, part: &str) {
    let error = connect(url).await.err().unwrap_or_else(|| panic!("{url} is accepted"));
    assert_eq!(error.kind(), kind, "{url}: {error:?}");
    assert!(error.message().contains(part), "{url}: {error} does not contain {part:?}");
}

/// Opens a connection to a server, and performs the handshake. The client offers no choice of protocols.
async fn open(server: &Server, tls: &TestTls) -> TlsStream<TcpStream> {
    open_with(server, tls, &[]).await
}

/// Opens a connection to a server, and performs the handshake, in which the client offers protocols (ALPN).
pub(super) async fn open_with(server: &Server, tls: &TestTls, protocols: &[&[u8]]) -> TlsStream<TcpStream> {
    let mut cas = RootCertStore::empty();
    cas.add(CertificateDer::from_pem_file(tls.ca_file()).unwrap()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(cas)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let socket = TcpStream::connect(server.addr).await.unwrap();
    let name = ServerName::from(server.addr.ip());
    within(TlsConnector::from(Arc::new(config)).connect(name, socket)).await.unwrap()
}

#[tokio::test]
async fn https_client_registers_lists_watches_and_unregisters() {
    let tls = TestTls::new();
    let server = start(&tls).await;
    let registry = connect(&url(&server, &tls)).await.unwrap();
    let mut watch = registry.watch(WatchFrom::Now).await.unwrap();
    registry.register(&stream("cam1")).await.unwrap();
    assert_eq!(registry.list().await.unwrap().len(), 1);
    assert_eq!(registry.snapshot().await.unwrap().streams.len(), 1);
    registry.unregister(&id("cam1")).await.unwrap();
    match next_change(&mut watch).await {
        Event::Changed { kind: ChangeKind::Registered, stream, .. } => assert_eq!(stream.id, id("cam1")),
        other => panic!("{other:?}"),
    }
    assert!(matches!(next_change(&mut watch).await, Event::Ended { .. }));
}

#[tokio::test]
async fn https_client_rejects_certificates_that_are_not_valid_for_the_url() {
    let (tls, other) = (TestTls::new(), TestTls::new());
    let server = start(&tls).await;
    let base = format!("https://{}", server.addr);
    let unauthenticated = ErrorKind::Unauthenticated;
    assert_fault(&url(&server, &other), unauthenticated, "the certificate of the server at").await;
    assert_fault(&url(&server, &other), unauthenticated, "is not signed by a CA in").await;
    assert_fault(&base, unauthenticated, "is not signed by a CA of this system; add ca=FILE").await;
    let named = url(&server, &tls) + "&server_name=registry.example";
    assert_fault(&named, unauthenticated, "not for registry.example").await;
    assert_fault(&format!("{base}?ca=/nonexistent.pem"), ErrorKind::InvalidArgument, "cannot read the file in ca")
        .await;

    tls.issue_expired_server();
    assert_fault(&url(&start(&tls).await, &tls), unauthenticated, "has expired; renew it").await;
    tls.issue_server(&["registry.example"]);
    let server = start(&tls).await;
    let named = url(&server, &tls) + "&server_name=registry.example";
    assert_eq!(connect(&named).await.unwrap().list().await.unwrap().len(), 0);
}

#[tokio::test]
async fn insecure_https_client_accepts_every_certificate_and_logs_a_warning() {
    let tls = TestTls::new();
    let server = start(&tls).await;
    let log = CapturedLog::start();
    let registry = connect(&format!("https://{}?insecure=true", server.addr)).await.unwrap();
    registry.ping().await.unwrap();
    assert!(log.text().contains("insecure=true: the certificate of the server is not checked"), "{}", log.text());
}

#[tokio::test]
async fn server_with_a_client_ca_accepts_only_clients_with_a_certificate_of_it() {
    let (tls, other) = (TestTls::new(), TestTls::new());
    let server = start_mutual(&tls).await;
    let base = url(&server, &tls);
    assert_fault(&base, ErrorKind::Unauthenticated, "demands a client certificate; add cert=FILE").await;
    assert_fault(&(base.clone() + &identity(&other)), ErrorKind::Unauthenticated, "rejected the client certificate")
        .await;
    connect(&(base + &identity(&tls))).await.unwrap().ping().await.unwrap();
}

#[tokio::test]
async fn new_connections_use_a_changed_certificate_while_open_ones_continue() {
    let mut tls = TestTls::new();
    let server = start(&tls).await;
    let earlier = connect(&url(&server, &tls)).await.unwrap();
    let mut watch = earlier.watch(WatchFrom::Now).await.unwrap();
    let copy = tls.ca_file().with_file_name("earlier.pem");
    std::fs::copy(tls.ca_file(), &copy).unwrap();
    tls.replace_ca();
    let url = url(&server, &tls);
    wait_until(PATIENCE, async || connect(&url).await.is_ok()).await;
    let outdated = format!("https://{}?ca={}", server.addr, copy.display());
    assert_fault(&outdated, ErrorKind::Unauthenticated, "is not signed by a CA in").await;
    connect(&url).await.unwrap().register(&stream("cam1")).await.unwrap();
    assert!(matches!(next_change(&mut watch).await, Event::Changed { .. }), "the open connection was closed");
}

#[test]
fn server_keeps_its_certificate_and_logs_a_warning_while_new_files_are_unusable() {
    let tls = TestTls::new();
    let (cert, key) = (tls.server_cert(), tls.server_key());
    let server = cli::Server::start(&["--tls-cert", cert.to_str().unwrap(), "--tls-key", key.to_str().unwrap()]);
    let store = format!("{}?ca={}", server.url, tls.ca_file().display());
    let get = |path: &str| {
        let mut curl = std::process::Command::new("curl");
        let (_, body, _) = outcome(curl.args(["-sk", &format!("{}{path}", server.url)]).output().unwrap());
        body
    };
    let assert_warning = |reason: &str| {
        let line = server.running.line_with("cannot use the changed TLS files; keeping the earlier ones");
        assert!(line.contains(reason), "{line}");
        let (status, _, stderr) = outcome(program(&["list", "--store", &store]).output().unwrap());
        assert_eq!(status, Some(0), "{stderr}");
        assert!(get("/metrics").contains("streamreg_reload_failed{file=\"tls\"} 1\n"));
        assert!(get("/readyz").contains("the changed TLS file is unusable"));
    };
    let good = std::fs::read(&cert).unwrap();
    std::fs::write(&cert, "-----BEGIN CERTIFICATE-----\nAA").unwrap();
    assert_warning("the file in --tls-cert is invalid");
    std::fs::write(&cert, "").unwrap();
    assert_warning("the file in --tls-cert holds no certificate");
    std::fs::remove_file(&cert).unwrap();
    assert_warning("cannot read the file in --tls-cert");
    #[cfg(unix)]
    {
        // To read a pipe would block.
        rustix::fs::mkfifoat(rustix::fs::CWD, &cert, rustix::fs::Mode::RUSR).unwrap();
        assert_warning("the file in --tls-cert is no regular file");
        std::fs::remove_file(&cert).unwrap();
    }
    std::fs::write(&cert, vec![b'#'; 5 * 1024 * 1024]).unwrap();
    assert_warning("larger than 4096 KiB");
    // The new key does not belong to the earlier certificate.
    std::fs::copy(TestTls::new().server_key(), &key).unwrap();
    std::fs::write(&cert, good).unwrap();
    assert_warning("do not belong together");
    tls.issue_server(&["127.0.0.1"]);
    server.running.line_with("the TLS files have changed; using the new ones");
    let good = std::fs::read(&cert).unwrap();
    std::fs::write(&cert, "").unwrap();
    assert_warning("the file in --tls-cert holds no certificate");
    std::fs::write(&cert, good).unwrap();
    server.running.line_with("the TLS files are usable again");
    let (status, _, stderr) = outcome(program(&["list", "--store", &store]).output().unwrap());
    assert_eq!(status, Some(0), "{stderr}");
    assert!(get("/metrics").contains("streamreg_reload_failed{file=\"tls\"} 0\n"));
}

/// Returns when the certificate of a server expires, according to its metrics.
async fn expiry(url: &str) -> Option<u64> {
    let mut curl = tokio::process::Command::new("curl");
    let (_, text, _) = outcome(curl.args(["-sk", &format!("{url}/metrics")]).output().await.unwrap());
    let sample = "streamreg_tls_certificate_expiry_timestamp_seconds ";
    text.lines().find_map(|line| line.strip_prefix(sample)?.parse().ok())
}

#[tokio::test]
async fn expiry_of_the_certificate_is_a_metric_and_an_expired_one_is_logged_at_the_start_and_when_it_changes() {
    let warning = "a certificate in --tls-cert has expired, so clients reject it; renew it";
    let tls = TestTls::new();
    let log = CapturedLog::start();
    tls.issue_expired_server();
    options(&tls);
    assert!(log.text().contains(warning), "{}", log.text());
    tls.issue_server(&["127.0.0.1"]);
    let (cert, key) = (tls.server_cert(), tls.server_key());
    let server = cli::Server::start(&["--tls-cert", cert.to_str().unwrap(), "--tls-key", key.to_str().unwrap()]);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!(expiry(&server.url).await > Some(now));
    tls.issue_expired_server();
    server.running.line_with(warning);
    // 2021-01-01T00:00:00Z
    wait_until(PATIENCE, async || expiry(&server.url).await == Some(1_609_459_200)).await;
    // An intermediate certificate that expires earlier than the certificate itself counts too.
    let expired = std::fs::read_to_string(&cert).unwrap();
    tls.issue_server(&["127.0.0.1"]);
    std::fs::write(&cert, std::fs::read_to_string(&cert).unwrap() + &expired).unwrap();
    server.running.line_with(warning);
    assert_eq!(expiry(&cli::Server::start(&[]).url).await, None);
}

#[test]
fn serve_recognises_a_server_on_its_port_that_needs_https_or_a_token() {
    let tls = TestTls::new();
    let (cert, key, ca) = (tls.server_cert(), tls.server_key(), tls.ca_file());
    let [cert, key, ca] = [&cert, &key, &ca].map(|path| path.to_str().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    cli::write_private(&token, "s3cret");
    let token = token.to_str().unwrap();
    for args in [
        &["--tls-cert", cert, "--tls-key", key][..],
        &["--tls-cert", cert, "--tls-key", key, "--tls-client-ca", ca],
        &["--token-file", token, "--read-token-file", token],
    ] {
        let server = cli::Server::start(args);
        let address = server.url.rsplit('/').next().unwrap();
        let (status, _, stderr) = outcome(program(&["serve", "--listen", address]).output().unwrap());
        assert_eq!(status, Some(1));
        assert!(stderr.contains("streamreg is already running there"), "{args:?}: {stderr}");
    }
}

#[tokio::test]
async fn plain_request_on_a_tls_port_gets_a_problem_and_is_closed() {
    let tls = TestTls::new();
    let server = start(&tls).await;
    let answer = server.get("/healthz").await;
    assert_eq!((answer.status, answer.header("content-type")), (400, "application/problem+json"));
    assert_eq!(answer.json()["code"], "tls_required");
    assert_eq!(answer.header("connection"), "close");
    assert_fault(&format!("http://{}", server.addr), ErrorKind::Unsupported, "accepts only TLS; use https://").await;
    // A connection check of a load balancer does no harm.
    drop(TcpStream::connect(server.addr).await.unwrap());
    // A record of TLS with garbage in it.
    let mut socket = TcpStream::connect(server.addr).await.unwrap();
    socket.write_all(&[22, 3, 1, 0, 4, 9, 9, 9, 9]).await.unwrap();
    within(socket.read_to_end(&mut Vec::new())).await.unwrap();
    connect(&url(&server, &tls)).await.unwrap();
}

#[tokio::test]
async fn https_url_of_a_plain_server_is_rejected_with_a_hint() {
    let (server, _) = Server::memory().await;
    let plain = format!("https://{}?insecure=true", server.addr);
    assert_fault(&plain, ErrorKind::Unsupported, "does not use TLS; use http://").await;
}

#[tokio::test]
async fn slow_handshakes_time_out_and_delay_nobody() {
    let tls = TestTls::new();
    let options = options(&tls).header_timeout(Duration::from_millis(300));
    let server = Server::start(Arc::new(MemoryRegistry::new()), options).await;
    let mut slow = Vec::new();
    for begin in [&b""[..], &[22], &[22, 3, 1, 2, 0, 1, 0]] {
        let mut socket = TcpStream::connect(server.addr).await.unwrap();
        socket.write_all(begin).await.unwrap();
        slow.push(socket);
    }
    connect(&url(&server, &tls)).await.unwrap().register(&stream("cam1")).await.unwrap();
    for mut socket in slow {
        let _ = within(socket.read_to_end(&mut Vec::new())).await;
    }
}

#[tokio::test]
async fn server_stops_at_once_although_a_handshake_is_incomplete() {
    let tls = TestTls::new();
    let mut server = start(&tls).await;
    let mut socket = TcpStream::connect(server.addr).await.unwrap();
    socket.write_all(&[22, 3, 1]).await.unwrap();
    // The server has accepted the first connection before the second.
    drop(open(&server, &tls).await);
    let begin = std::time::Instant::now();
    server.begin_stop();
    server.stopped().await;
    assert!(begin.elapsed() < ServeOptions::default().grace, "the server waited for the handshake");
}

#[tokio::test]
async fn https_client_that_does_not_read_is_disconnected() {
    let tls = TestTls::new();
    let registry = Arc::new(MemoryRegistry::new());
    for n in 0..10_000 {
        let mut record = stream(&format!("cam{n}"));
        record.video_codec = "y".repeat(1_000);
        registry.register(&record).await.unwrap();
    }
    let options = options(&tls).write_timeout(Duration::from_millis(200)).grace(PATIENCE * 2);
    let mut server = Server::start(registry, options).await;
    let mut client = open(&server, &tls).await;
    client.write_all(b"GET /api/v1/snapshot HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    // The response has started, and the whole response is larger than the socket buffers.
    within(client.read_u8()).await.unwrap();
    server.begin_stop();
    server.stopped().await;
}

#[tokio::test]
async fn handlers_see_the_same_requests_with_tls_as_without() {
    let tls = TestTls::new();
    let server = start(&tls).await;
    let mut client = open(&server, &tls).await;
    let length = CAM.len();
    let head = format!("Host: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n");
    client.write_all(format!("POST {LIST} HTTP/1.1\r\n{head}{CAM}").as_bytes()).await.unwrap();
    // The connection stays open for the next request.
    client.write_all(b"GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut bytes = Vec::new();
    within(client.read_to_end(&mut bytes)).await.unwrap();
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.starts_with("HTTP/1.1 201 "), "{text}");
    assert!(text.contains("HTTP/1.1 421 ") && text.contains("host_not_allowed"), "{text}");
}

#[test]
fn commands_and_curl_use_a_server_over_https() {
    let tls = TestTls::new();
    let (cert, key, ca) = (tls.server_cert(), tls.server_key(), tls.ca_file());
    let (cert, key) = (cert.to_str().unwrap(), key.to_str().unwrap());
    let server = cli::Server::start(&["--tls-cert", cert, "--tls-key", key]);
    assert!(server.url.starts_with("https://127.0.0.1:"), "{}", server.greeting);
    let store = format!("{}?ca={}", server.url, ca.display());
    let run = |args: &[&str]| outcome(program(args).args(["--store", &store]).output().unwrap());
    let (status, stdout, stderr) =
        run(&["register", "--id", "cam1", "--type", "srt", "--source", "203.0.113.7:40112", "--output", "jsonl"]);
    assert_eq!(status, Some(0), "{stdout}{stderr}");
    let (status, stdout, stderr) = run(&["list", "--output", "jsonl"]);
    assert_eq!((status, stdout.lines().count()), (Some(0), 1), "{stderr}");
    // The CAs of the system, which this variable replaces.
    let list = |ca: &std::path::Path| {
        let mut command = program(&["list", "--output", "jsonl", "--store", &server.url]);
        outcome(command.env("SSL_CERT_FILE", ca).env_remove("SSL_CERT_DIR").output().unwrap())
    };
    assert_eq!(list(&ca).0, Some(0));
    let (status, _, stderr) = list(&TestTls::new().ca_file());
    assert_eq!(status, Some(1), "{stderr}");
    assert!(stderr.contains("is not signed by a CA of this system") && !stderr.contains("token"), "{stderr}");

    let curl = |args: &[&str]| outcome(std::process::Command::new("curl").arg("-sS").args(args).output().unwrap());
    let address = format!("{}{LIST}", server.url);
    let (status, stdout, stderr) = curl(&["--cacert", ca.to_str().unwrap(), &address]);
    let list: Value = serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}"));
    assert_eq!((status, &list["streams"][0]["id"]), (Some(0), &"cam1".into()));
    let (status, _, stderr) = curl(&[&address]);
    assert_eq!(status, Some(60), "curl accepts an unknown CA: {stderr}");
    let (_, stdout, _) = curl(&[&address.replace("https", "http")]);
    assert!(stdout.contains("tls_required"), "{stdout}");
}

#[test]
fn serve_rejects_unusable_certificates_at_the_start() {
    let (tls, other) = (TestTls::new(), TestTls::new());
    let (cert, key) = (tls.server_cert().display().to_string(), tls.server_key().display().to_string());
    let foreign = other.server_key().display().to_string();
    for (args, expected) in [
        (&["--tls-cert", &cert][..], "--tls-key"),
        (&["--tls-key", &key], "--tls-cert"),
        (&["--tls-client-ca", &cert], "--tls-cert"),
        (&["--tls-cert", &cert, "--tls-key", &cert], "the file in --tls-key holds no unencrypted private key"),
        (&["--tls-cert", &key, "--tls-key", &key], "the file in --tls-cert holds no certificate"),
        (&["--tls-cert", "/nonexistent", "--tls-key", &key], "cannot read the file in --tls-cert: /nonexistent"),
        (&["--tls-cert", &cert, "--tls-key", &foreign], "do not belong together"),
        (
            &["--tls-cert", &cert, "--tls-key", &key, "--tls-client-ca", &key],
            "the file in --tls-client-ca holds no certificate",
        ),
    ] {
        let (status, _, stderr) =
            outcome(program(&[&["serve", "--listen", "127.0.0.1:0"], args].concat()).output().unwrap());
        assert_eq!(status, Some(2), "{args:?}: {stderr}");
        assert!(stderr.contains(expected), "{args:?}: {stderr}");
    }
}

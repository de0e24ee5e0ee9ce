//! Tests the HTTP client with the real server and with scripted servers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use stream_registry::http::HttpOptions;
use stream_registry::registry::Operation;
use stream_registry::stream::{EndReason, LabelsPatch, OperationId};
use stream_registry::{
    Change, Error, ErrorKind, Guard, HttpRegistry, OnConflict, Outcome, RegisterOptions, Registry, StreamPatch,
    StreamStats, StreamStatus, UnregisterOptions, Write,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;

use super::kit::{PATIENCE, Server, id, stream, within};

#[tokio::test]
async fn client_behaves_like_the_store_behind_the_server() {
    let (server, registry) = Server::memory().await;
    let client: Arc<dyn Registry> = Arc::new(server.client().await);
    assert_eq!((client.info().kind, client.info().ttl), ("http", Duration::from_secs(300)));
    client.ping().await.unwrap();
    let first = client.register(&stream("a")).await.unwrap();
    assert_eq!((first.outcome, first.ttl), (Outcome::Created, Duration::from_secs(300)));
    assert_eq!(client.register(&stream("a")).await.unwrap().outcome, Outcome::Renewed);
    let mut other = stream("a");
    other.source_addr = "h:2".into();
    let clash = client.register(&other).await.unwrap_err();
    assert_eq!((clash.kind(), clash.operation()), (ErrorKind::AlreadyExists, Some(Operation::Register)));
    assert_eq!(clash.existing().unwrap(), &registry.get(&id("a")).await.unwrap());
    let taken = client.register_with(&other, &RegisterOptions::default().on_conflict(OnConflict::TakeOver)).await;
    assert_eq!(taken.unwrap().outcome, Outcome::TakenOver);
    for options in [
        RegisterOptions::default().on_conflict(OnConflict::CreateOnly),
        RegisterOptions::default().on_conflict(OnConflict::Reject),
    ] {
        assert_eq!(client.register_with(&stream("a"), &options).await.unwrap_err().kind(), ErrorKind::AlreadyExists);
    }

    let fresh = client.register_new(&stream("ignored"), &RegisterOptions::default()).await.unwrap();
    assert_eq!(fresh.outcome, Outcome::Created);
    assert!(fresh.stream.id.as_str().starts_with("srt_2"), "{}", fresh.stream.id);
    let named = RegisterOptions::default().operation(OperationId::generate());
    let ids: BTreeSet<_> = [
        client.register_new(&stream("x"), &named).await.unwrap().stream.id,
        client.register_new(&stream("x"), &named).await.unwrap().stream.id,
    ]
    .into();
    assert_eq!(ids.len(), 1);

    let patch = StreamPatch {
        labels: LabelsPatch::Replace(BTreeMap::from([("k".into(), "v".into())])),
        node: Some("n1".into()),
        ..Default::default()
    };
    client.patch(&id("a"), &StreamPatch::default().label("old", "1")).await.unwrap();
    client.patch(&id("a"), &patch).await.unwrap();
    let read = client.get(&id("a")).await.unwrap();
    assert_eq!((read.labels, read.node.as_deref()), (BTreeMap::from([("k".into(), "v".into())]), Some("n1")));

    for guard in [Guard::None, Guard::Force] {
        let write = Write { id: id("a"), guard, change: Change::Heartbeat };
        client.write_one(write).await.unwrap();
    }
    let stranger = Write { id: id("a"), guard: Guard::Holder("e1".parse().unwrap()), change: Change::Heartbeat };
    assert_eq!(client.write_one(stranger).await.unwrap_err().kind(), ErrorKind::NotHolder);
    let end = UnregisterOptions::default().reason("a & b = 100 %".parse::<EndReason>().unwrap()).guard(Guard::Force);
    assert_eq!(client.unregister_with(&id("a"), &end).await.unwrap().end_reason.as_deref(), Some("a & b = 100 %"));
    let gone = client.unregister(&id("a")).await.unwrap_err();
    assert_eq!((gone.kind(), gone.operation()), (ErrorKind::NotFound, Some(Operation::Unregister)));

    client.close().await.unwrap();
    assert_eq!(client.get(&id("a")).await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(client.write(&[]).await.unwrap_err().kind(), ErrorKind::Closed);
    client.close().await.unwrap();
}

#[tokio::test]
async fn results_of_a_thousand_writes_are_in_order() {
    let (server, registry) = Server::memory().await;
    let client = server.client().await;
    for n in 0..10 {
        registry.register(&stream(&format!("s{n}"))).await.unwrap();
    }
    // Each stream gets about a hundred bitrates in turn, and its record must have the last bitrate. Every eleventh id
    // is unknown.
    let writes: Vec<_> = (0..1_000_u64)
        .map(|n| Write {
            id: id(&format!("s{}", n % 11)),
            guard: Guard::None,
            change: Change::Stats(Box::new(StreamStats { bitrate: Some(n), ..Default::default() })),
        })
        .collect();
    let answers = client.write(&writes).await.unwrap();
    assert_eq!(answers.len(), 1_000);
    for (n, answer) in answers.iter().enumerate() {
        match answer {
            Ok(()) => assert_ne!(n % 11, 10),
            Err(error) => {
                assert_eq!(
                    (n % 11, error.kind(), error.operation()),
                    (10, ErrorKind::NotFound, Some(Operation::Stats))
                );
                assert_eq!(error.stream_id(), Some(&id("s10")));
            }
        }
    }
    for n in 0..10 {
        let last = (0..1_000).filter(|at| at % 11 == n).max().unwrap();
        assert_eq!(registry.get(&id(&format!("s{n}"))).await.unwrap().bitrate, last);
    }
    let too_many: Vec<_> = std::iter::repeat_n(writes[0].clone(), 1_001).collect();
    assert_eq!(client.write(&too_many).await.unwrap_err().kind(), ErrorKind::InvalidArgument);
    let bad = Write {
        id: id("s0"),
        guard: Guard::None,
        change: Change::Stats(Box::new(StreamStats { bitrate: Some(u64::MAX), ..Default::default() })),
    };
    let answers = client.write(&[bad, writes[0].clone()]).await.unwrap();
    assert_eq!((answers[0].as_ref().unwrap_err().kind(), answers[1].is_ok()), (ErrorKind::InvalidArgument, true));
}

#[tokio::test]
async fn heartbeats_and_statistics_are_batched_and_other_writes_stay_in_order() {
    let done = r#"{"unknown":["gone"],"not_holder":["lost"],"failed":[{"id":"odd","code":"corrupt","detail":"not a record"}]}"#;
    let empty = "HTTP/1.1 204 No Content\r\n\r\n".to_owned();
    let (addr, task) = scripted(vec![vec![ok(INFO), ok(done), empty.clone(), empty.clone(), empty]]).await;
    let client = HttpRegistry::connect(format!("http://{addr}").parse().unwrap()).await.unwrap();
    let write = |name: &str, guard: Guard, change: Change| Write { id: id(name), guard, change };
    let holder = Guard::Holder("e1".parse().unwrap());
    let stats = Change::Stats(Box::new(StreamStats { bitrate: Some(5), ..Default::default() }));
    let writes = [
        write("mine", holder.clone(), Change::Heartbeat),
        write("lost", holder.clone(), stats.clone()),
        write("gone", Guard::None, Change::Heartbeat),
        write("odd", Guard::None, Change::Heartbeat),
        write("fine", Guard::None, stats.clone()),
        write(
            "bad",
            Guard::None,
            Change::Stats(Box::new(StreamStats { bitrate: Some(u64::MAX), ..Default::default() })),
        ),
    ];
    let answers = within(client.write(&writes)).await.unwrap();
    let kinds: Vec<_> = answers.iter().map(|answer| answer.as_ref().err().map(Error::kind)).collect();
    use ErrorKind::{Corrupt, InvalidArgument, NotFound, NotHolder};
    assert_eq!(kinds, [None, Some(NotHolder), Some(NotFound), Some(Corrupt), None, Some(InvalidArgument)]);
    for (write, error) in
        writes.iter().zip(&answers).filter_map(|(write, answer)| Some((write, answer.as_ref().err()?)))
    {
        assert_eq!((error.stream_id(), error.operation()), (Some(&write.id), Some(write.change.operation())));
        assert!(!error.may_have_applied() && !error.is_retryable());
    }
    // These writes are sent individually and in order: a single write, two writes to one stream, and a forced write.
    within(client.write_one(write("a", holder, Change::Heartbeat))).await.unwrap();
    let twice = [write("a", Guard::None, stats), write("a", Guard::Force, Change::Heartbeat)];
    assert!(within(client.write(&twice)).await.unwrap().iter().all(Result::is_ok));
    let (requests, _) = within(task).await.unwrap();
    let lines: Vec<_> = requests.iter().map(|request| request.lines().next().unwrap()).collect();
    assert_eq!(
        lines,
        [
            "GET /api/v1/info HTTP/1.1",
            "POST /api/v1/heartbeats HTTP/1.1",
            "POST /api/v1/streams/a/heartbeat HTTP/1.1",
            "PUT /api/v1/streams/a/stats HTTP/1.1",
            "POST /api/v1/streams/a/heartbeat?force=true HTTP/1.1",
        ]
    );
    assert!(
        requests[1].contains(r#"{"id":"mine","epoch":"e1"},{"id":"lost","epoch":"e1","stats":{"#),
        "{}",
        requests[1]
    );
    assert!(requests[2].to_ascii_lowercase().contains("stream-epoch: e1"), "{}", requests[2]);
}

#[tokio::test]
async fn lost_batch_response_is_reported_as_possibly_applied() {
    let write = |name: &str| Write { id: id(name), guard: Guard::None, change: Change::Heartbeat };
    for answer in [ok("[1,2]"), String::new()] {
        let (addr, task) = scripted(vec![vec![ok(INFO), answer]]).await;
        let client = HttpRegistry::connect(format!("http://{addr}").parse().unwrap()).await.unwrap();
        for answer in within(client.write(&[write("a"), write("b")])).await.unwrap() {
            assert!(answer.unwrap_err().may_have_applied());
        }
        within(task).await.unwrap();
    }
}

#[tokio::test]
async fn one_call_keeps_a_thousand_leases_alive() {
    let (server, registry) = Server::memory().await;
    let client = server.client().await;
    let leased = RegisterOptions::default().lease();
    let mut writes = Vec::new();
    for n in 0..1_000 {
        let lease =
            registry.register_with(&stream(&format!("a stream with a rather long name {n:0>200}")), &leased).await;
        let lease = lease.unwrap();
        let change = Change::Stats(Box::new(StreamStats { bitrate: Some(n), viewers: Some(n), ..Default::default() }));
        writes.push(Write { id: lease.stream.id, guard: Guard::Holder(lease.epoch.unwrap()), change });
    }
    let stranger = writes[7].guard.clone();
    writes[8].guard = stranger;
    registry.unregister_with(&writes[9].id, &UnregisterOptions::default().guard(Guard::Force)).await.unwrap();
    let answers = client.write(&writes).await.unwrap();
    for (n, (write, answer)) in writes.iter().zip(answers).enumerate() {
        let kind = answer.err().map(|error| error.kind());
        assert_eq!(
            kind,
            match n {
                8 => Some(ErrorKind::NotHolder),
                9 => Some(ErrorKind::NotFound),
                _ => None,
            }
        );
        if n != 9 {
            let now = registry.get(&write.id).await.unwrap();
            assert_eq!(now.viewers, (n != 8).then_some(n as u64));
        }
    }
}

#[tokio::test]
async fn leases_over_http_behave_like_leases_of_the_store() {
    let (server, registry) = Server::memory().await;
    let client = server.client().await;
    let leased = RegisterOptions::default().lease();
    let first = client.register_with(&stream("a"), &leased).await.unwrap();
    assert_eq!(first.stream, registry.get(&id("a")).await.unwrap());
    assert_eq!(first.epoch.as_ref(), first.stream.epoch());
    let fresh = client.register_new(&stream("x"), &leased).await.unwrap();
    assert!(fresh.epoch.is_some());

    // The client must accept any duration for `TakeOverIfStale`, although the server counts in milliseconds.
    let mut other = stream("a");
    other.source_addr = "h:2".into();
    for after in [Duration::MAX, Duration::from_secs(299)] {
        let options = leased.clone().on_conflict(OnConflict::TakeOverIfStale(after));
        let conflict = client.register_with(&other, &options).await.unwrap_err();
        assert_eq!((conflict.kind(), conflict.existing()), (ErrorKind::AlreadyExists, Some(&first.stream)));
    }
    let options = leased.clone().on_conflict(OnConflict::TakeOverIfStale(Duration::ZERO));
    let taken = client.register_with(&other, &options).await.unwrap();
    assert_eq!(taken.outcome, Outcome::TakenOver);
    assert!(taken.epoch > first.epoch);

    let back = RegisterOptions::default().recover(first.epoch.clone().unwrap());
    let lost = client.register_with(&first.stream, &back).await.unwrap_err();
    assert_eq!((lost.kind(), lost.operation()), (ErrorKind::NotHolder, Some(Operation::Register)));
    assert_eq!(lost.existing(), Some(&taken.stream));
    let end = UnregisterOptions::default().guard(Guard::Holder(taken.epoch.clone().unwrap()));
    client.unregister_with(&id("a"), &end).await.unwrap();
    let lost = client.register_with(&first.stream, &back).await.unwrap_err();
    assert_eq!((lost.kind(), lost.existing()), (ErrorKind::NotHolder, None));
    let back = RegisterOptions::default().recover(taken.epoch.unwrap());
    assert_eq!(client.register_with(&taken.stream, &back).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn read_only_client_sends_no_write() {
    let (server, registry) = Server::memory().await;
    registry.register(&stream("a")).await.unwrap();
    let client = HttpRegistry::connect(server.options().read_only()).await.unwrap();
    assert!(client.info().read_only);
    assert_eq!(client.list().await.unwrap().len(), 1);
    for error in [
        client.register(&stream("b")).await.unwrap_err(),
        client.register_new(&stream("b"), &RegisterOptions::default()).await.unwrap_err(),
        client.unregister(&id("a")).await.unwrap_err(),
        client.update_heartbeat(&id("a")).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Denied);
    }
    assert_eq!(registry.list().await.unwrap().len(), 1);
}

/// Starts a scripted server. Connection n gets the responses of list n, one per request, and is then closed.
///
/// The task returns the requests and the listener, which no longer accepts connections.
async fn scripted(answers: Vec<Vec<String>>) -> (SocketAddr, JoinHandle<(Vec<String>, TcpListener)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let mut heads = Vec::new();
        for answers in answers {
            let (mut socket, _) = listener.accept().await.unwrap();
            for answer in answers {
                let mut request = Vec::new();
                let mut piece = [0; 4096];
                let complete = |request: &[u8]| {
                    let text = String::from_utf8_lossy(request).to_ascii_lowercase();
                    let (head, body) = text.split_once("\r\n\r\n")?;
                    let length = head
                        .split_once("content-length: ")
                        .map_or(0, |(_, rest)| rest.lines().next().unwrap().parse::<usize>().unwrap());
                    (body.len() >= length).then_some(())
                };
                while complete(&request).is_none() {
                    let got = socket.read(&mut piece).await.unwrap();
                    assert_ne!(got, 0, "the client closed the connection during a request");
                    request.extend_from_slice(&piece[..got]);
                }
                heads.push(String::from_utf8(request).unwrap());
                socket.write_all(answer.as_bytes()).await.unwrap();
            }
        }
        (heads, listener)
    });
    (addr, task)
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

const INFO: &str = r#"{"name":"streamreg","version":"0","store":"memory","ttl_ms":1000,"read_only":false}"#;

#[tokio::test]
async fn time_of_the_store_is_the_clock_of_the_server() {
    let dated = |date: &str, body: &str| ok(body).replacen("\r\n", &format!("\r\nDate: {date}\r\n"), 1);
    let found = stream("a").to_json();
    let (addr, task) = scripted(vec![vec![
        dated("Sun, 06 Nov 1994 08:49:37 GMT", INFO),
        dated("Mon, 07 Nov 1994 08:49:37 GMT", &found),
        dated("yesterday", &found),
    ]])
    .await;
    let client = HttpRegistry::connect(format!("http://{addr}").parse().unwrap()).await.unwrap();
    let is_at = |time: &str| {
        let late = client.now().since(time.parse().unwrap());
        assert!(late < Duration::from_secs(60), "{late:?} after {time}");
    };
    is_at("1994-11-06T08:49:37Z");
    for _ in 0..2 {
        within(client.get(&id("a"))).await.unwrap();
        is_at("1994-11-07T08:49:37Z");
    }
    within(task).await.unwrap();
}

#[tokio::test]
async fn lost_registration_is_retried_once_with_the_same_operation_id() {
    let registered =
        format!(r#"{{"stream":{},"outcome":"created","epoch":null,"ttl_ms":1000}}"#, stream("a").to_json());
    // The server reads the registration on the first connection, and closes that connection without a response.
    let (addr, task) = scripted(vec![vec![ok(INFO), String::new()], vec![ok(&registered)]]).await;
    let client = HttpRegistry::connect(format!("http://{addr}").parse().unwrap()).await.unwrap();
    assert_eq!(client.info().ttl, Duration::from_secs(1));
    within(client.register(&stream("a"))).await.unwrap();
    let (heads, _) = within(task).await.unwrap();
    let key = |head: &str| {
        let head = head.to_ascii_lowercase();
        let (_, rest) = head.split_once("idempotency-key: ").expect("every registration has an operation id");
        rest.lines().next().unwrap().to_owned()
    };
    assert_eq!(heads.len(), 3);
    assert_eq!(key(&heads[1]), key(&heads[2]));

    // If the retry also gets no response, there is no second retry.
    let (addr, task) = scripted(vec![vec![ok(INFO), String::new()], vec![String::new()]]).await;
    let client = HttpRegistry::connect(format!("http://{addr}").parse().unwrap()).await.unwrap();
    let error = within(client.register(&stream("a"))).await.unwrap_err();
    assert_eq!((error.kind(), error.may_have_applied()), (ErrorKind::Unavailable, true));
    within(task).await.unwrap();
}

#[tokio::test]
async fn unexpected_responses_become_clear_errors() {
    let html = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>".to_owned();
    let gateway = "HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>".to_owned();
    let missing = "HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>".to_owned();
    let truncated = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{\"id\"".to_owned();
    let binary = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n\u{0}\u{1}".to_owned();
    let huge = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {0}\r\n\r\n{1}",
        65 * 1024 * 1024,
        " ".repeat(65 * 1024 * 1024)
    );
    for (answer, kind) in [
        (html, ErrorKind::Internal),
        (gateway, ErrorKind::Unavailable),
        (missing, ErrorKind::Internal),
        (truncated, ErrorKind::Unavailable),
        (binary, ErrorKind::Corrupt),
        (ok("[1,2]"), ErrorKind::Corrupt),
        (huge, ErrorKind::Internal),
    ] {
        let label = answer.chars().take(60).collect::<String>();
        let (addr, task) = scripted(vec![vec![ok(INFO), answer]]).await;
        let client = HttpRegistry::connect(format!("http://{addr}").parse().unwrap()).await.unwrap();
        let error = within(client.get(&id("a"))).await.unwrap_err();
        assert_eq!((error.kind(), error.may_have_applied()), (kind, false), "{label}: {error}");
        task.abort();
    }
    let (addr, _task) = scripted(vec![vec!["HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi".to_owned()]]).await;
    let error = HttpRegistry::connect(format!("http://{addr}").parse().unwrap()).await.unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::Internal, Some(Operation::Connect)));
}

#[tokio::test]
async fn unreachable_and_silent_servers_become_clear_errors() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let options: HttpOptions = format!("http://{addr}").parse().unwrap();
    // The operating system accepts the connection, but no program responds.
    let start = Instant::now();
    let error = HttpRegistry::connect(options.timeout(Duration::from_millis(100))).await.unwrap_err();
    assert_eq!((error.kind(), error.may_have_applied()), (ErrorKind::Timeout, false));
    assert!(start.elapsed() < PATIENCE);
    // The port is bound, so that no other test can use it, but no program listens on it.
    let bound = TcpSocket::new_v4().unwrap();
    bound.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = bound.local_addr().unwrap();
    let options = format!("http://{addr}").parse::<HttpOptions>().unwrap();
    let error = within(HttpRegistry::connect(options)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("start one with `streamreg serve`"), "{error}");
    assert!(error.to_string().contains(&addr.to_string()), "{error}");
}

#[tokio::test]
async fn batch_fails_at_once_when_the_server_is_unreachable() {
    let (addr, task) = scripted(vec![vec![ok(INFO)]]).await;
    let options: HttpOptions = format!("http://{addr}").parse().unwrap();
    let client = HttpRegistry::connect(options.timeout(Duration::from_millis(200))).await.unwrap();
    // From here on, the operating system accepts connections, but no program responds.
    let (_, _silent) = within(task).await.unwrap();
    // Some writes were sent and may have been applied. The client did not send the other writes.
    for (change, sent) in [(Change::Status(StreamStatus::Active), 1..=16), (Change::Heartbeat, 1_000..=1_000)] {
        let writes: Vec<_> = (0..1_000)
            .map(|n| Write { id: id(&format!("s{n}")), guard: Guard::None, change: change.clone() })
            .collect();
        let start = Instant::now();
        let answers = within(client.write(&writes)).await.unwrap();
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        assert_eq!(answers.len(), 1_000);
        assert!(answers.iter().all(|answer| answer.as_ref().is_err_and(Error::is_retryable)));
        let uncertain = answers.iter().filter(|answer| answer.as_ref().is_err_and(Error::may_have_applied)).count();
        assert!(sent.contains(&uncertain), "{uncertain}");
    }
}

//! Tests watches of the HTTP client when the server restarts, when it is silent, and when connections are lost.

use std::sync::Arc;
use std::time::Duration;

use stream_registry::http::HttpOptions;
use stream_registry::registry::Operation;
use stream_registry::watch::{Event, Watch, WatchFrom};
use stream_registry::{ErrorKind, HttpRegistry, MemoryRegistry, Registry};
use streamreg::server::ServeOptions;
use testkit::FaultProxy;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::kit::{BlockingRegistry, Server, id, stream, within};

/// Returns the next event other than `Alive`.
pub(super) async fn next_change(watch: &mut Watch) -> Event {
    loop {
        match within(watch.next()).await {
            Some(Event::Alive { .. }) => {}
            event => return event.expect("the watch has not ended"),
        }
    }
}

fn name(event: &Event) -> &str {
    event.stream().unwrap_or_else(|| panic!("{event:?}")).id.as_str()
}

#[tokio::test]
async fn watch_misses_nothing_when_the_server_restarts() {
    let store = Arc::new(MemoryRegistry::new());
    let mut server = Server::start(store.clone(), ServeOptions::default()).await;
    let client = server.client().await;
    let mut watch = client.watch(WatchFrom::Now).await.unwrap();
    assert!(matches!(within(watch.next()).await, Some(Event::Alive { .. })));
    for round in 0..5 {
        store.register(&stream(&format!("up{round}"))).await.unwrap();
        assert_eq!(name(&next_change(&mut watch).await), format!("up{round}"));
        let down = stream(&format!("down{round}"));
        server
            .restart(store.clone(), async {
                store.register(&down).await.unwrap();
            })
            .await;
        assert_eq!(name(&next_change(&mut watch).await), format!("down{round}"));
    }
    client.close().await.unwrap();
    assert_eq!(within(watch.next()).await, None);
}

#[tokio::test]
async fn watch_gets_resync_when_the_server_has_another_feed() {
    let mut server = Server::memory().await.0;
    let client = server.client().await;
    let mut watch = client.watch(WatchFrom::Now).await.unwrap();
    assert!(matches!(within(watch.next()).await, Some(Event::Alive { .. })));
    let store = Arc::new(MemoryRegistry::new());
    store.register(&stream("a")).await.unwrap();
    server.restart(store.clone(), async {}).await;
    let revision = store.snapshot().await.unwrap().revision.unwrap();
    assert_eq!(next_change(&mut watch).await, Event::Resync { revision, shard: None });
    store.register(&stream("b")).await.unwrap();
    assert_eq!(name(&next_change(&mut watch).await), "b");
}

#[tokio::test]
async fn watch_loses_and_repeats_no_event_when_connections_break() {
    let (server, store) = Server::memory().await;
    let proxy = FaultProxy::start(server.addr).await;
    let options: HttpOptions = format!("http://{}", proxy.addr()).parse().unwrap();
    let client = HttpRegistry::connect(options).await.unwrap();
    let mut watch = client.watch(WatchFrom::Now).await.unwrap();
    assert!(matches!(within(watch.next()).await, Some(Event::Alive { .. })));
    for round in 0..50 {
        // The connection breaks within the headers, within an id or a record, or after some events.
        proxy.cut_replies_after(round * 61 % 2_500);
        for n in 0..5 {
            store.register(&stream(&format!("s{}", round * 5 + n))).await.unwrap();
        }
        for n in 0..5 {
            let event = loop {
                match timeout(Duration::from_millis(30), next_change(&mut watch)).await {
                    Ok(event) => break event,
                    // The proxy has cut the connection.
                    Err(_) => proxy.resume().await,
                }
            };
            assert_eq!(name(&event), format!("s{}", round * 5 + n));
        }
    }
    assert!(proxy.accepted() > 25, "{}", proxy.accepted());
}

#[tokio::test]
async fn watch_fails_at_once_without_a_server_or_a_feed() {
    let without = Server::start(Arc::new(BlockingRegistry::default()), ServeOptions::default()).await;
    let error = without.client().await.watch(WatchFrom::Now).await.unwrap_err();
    assert_eq!((error.kind(), error.operation()), (ErrorKind::Unsupported, Some(Operation::Watch)));
    let (mut server, _) = Server::memory().await;
    let client = server.client().await;
    server.begin_stop();
    server.stopped().await;
    assert_eq!(client.watch(WatchFrom::Now).await.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn dropping_the_registry_ends_its_watches() {
    let (server, _) = Server::memory().await;
    let client = server.client().await;
    let mut watch = client.watch(WatchFrom::Now).await.unwrap();
    drop(client);
    assert_eq!(within(async { while watch.next().await.is_some() {} }).await, ());
}

/// Sends events in response to one request and leaves the connection open. Returns the request and the connection.
async fn respond(listener: &TcpListener, events: &str) -> (String, TcpStream) {
    let (mut socket, _) = listener.accept().await.unwrap();
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(socket.read_u8().await.unwrap());
    }
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
    socket.write_all(format!("{head}{events}").as_bytes()).await.unwrap();
    (String::from_utf8(request).unwrap(), socket)
}

/// Connects a client to a server that the test simulates.
async fn simulated() -> (TcpListener, HttpRegistry) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options: HttpOptions = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let info = async {
        let (mut socket, _) = listener.accept().await.unwrap();
        let body = r#"{"name":"streamreg","version":"1","store":"memory","ttl_ms":1000,"read_only":false}"#;
        let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length:";
        let _ = socket.read(&mut [0; 1024]).await.unwrap();
        socket.write_all(format!("{head} {}\r\n\r\n{body}", body.len()).as_bytes()).await.unwrap();
    };
    let (client, ()) = tokio::join!(HttpRegistry::connect(options), info);
    (listener, client.unwrap())
}

#[tokio::test]
async fn watch_reconnects_when_the_server_is_silent() {
    let (listener, client) = simulated().await;
    let first = "id: h-7\ndata: {\"event\":\"alive\",\"revision\":\"h-7\"}\n\n";
    let (watch, (request, _silent)) = tokio::join!(client.watch(WatchFrom::Now), respond(&listener, first));
    assert!(request.starts_with("GET /api/v1/events HTTP/1.1"), "{request}");
    let mut watch = watch.unwrap();
    assert!(matches!(within(watch.next()).await, Some(Event::Alive { .. })));
    // Paused time advances as soon as all tasks are idle.
    tokio::time::pause();
    let start = tokio::time::Instant::now();
    let second = "id: h-9\ndata: {\"event\":\"resync\",\"revision\":\"h-9\"}\n\n";
    let (event, (request, _open)) = tokio::join!(watch.next(), respond(&listener, second));
    assert!(request.starts_with("GET /api/v1/events?from=h-7 HTTP/1.1"), "{request}");
    assert_eq!(event, Some(Event::Resync { revision: "h-9".parse().unwrap(), shard: None }));
    assert!(start.elapsed() >= Duration::from_secs(25), "{:?}", start.elapsed());
}

#[tokio::test]
async fn watch_gets_resync_after_unreadable_events_and_early_disconnects() {
    let (listener, client) = simulated().await;
    // The connection is lost before the client has received a revision. All events until the reconnection are therefore
    // lost.
    let (watch, (_, socket)) = tokio::join!(client.watch(WatchFrom::Now), respond(&listener, ""));
    drop(socket);
    let mut watch = watch.unwrap();
    let events = "id: h-3\ndata: {\"event\":\"alive\",\"revision\":\"h-3\"}\n\n\
                  id: h-4\ndata: {\"event\":\"from_the_future\",\"revision\":\"h-4\"}\n\n";
    let (event, (_, _open)) = tokio::join!(within(watch.next()), respond(&listener, events));
    assert_eq!(event, Some(Event::Resync { revision: "h-3".parse().unwrap(), shard: None }));
    assert_eq!(within(watch.next()).await, Some(Event::Resync { revision: "h-4".parse().unwrap(), shard: None }));
}

#[tokio::test]
async fn dropped_call_of_next_loses_no_event() {
    let (server, store) = Server::memory().await;
    let client = server.client().await;
    let mut watch = client.watch(WatchFrom::Oldest).await.unwrap();
    let mut seen = Vec::new();
    for n in 0..300_u64 {
        store.register(&stream(&format!("s{n}"))).await.unwrap();
        tokio::select! {
            biased;
            event = watch.next() => seen.push(event.unwrap()),
            () = async { for _ in 0..n % 9 { tokio::task::yield_now().await } } => {}
        }
    }
    seen.retain(|event| !matches!(event, Event::Alive { .. }));
    while seen.len() < 300 {
        seen.push(next_change(&mut watch).await);
    }
    let names: Vec<_> = seen.iter().map(name).collect();
    let expected: Vec<_> = (0..300).map(|n| format!("s{n}")).collect();
    assert_eq!(names, expected);
    assert_eq!(store.get(&id("s0")).await.unwrap().id, id("s0"));
}

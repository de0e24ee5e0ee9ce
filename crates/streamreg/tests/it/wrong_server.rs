//! Store URLs that lead to a server of another kind: the message says what is wrong with the URL.

use std::net::Ipv4Addr;

use stream_registry::{Error, ErrorKind, connect};
use testkit::RedisServer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::http::kit::Server;

/// Starts a server that sends `reply` to each client after the client's first bytes, and then closes the connection.
pub(crate) async fn server_that_replies(reply: &'static [u8]) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let _ = socket.read(&mut [0; 1024]).await;
            let _ = socket.write_all(reply).await;
        }
    });
    address
}

async fn fault(url: &str) -> Error {
    connect(url).await.err().unwrap()
}

#[tokio::test]
async fn redis_url_to_a_server_that_is_not_redis_is_reported() {
    let (server, _) = Server::memory().await;
    let web = server_that_replies(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
    let ssh = server_that_replies(b"SSH-2.0-OpenSSH_9.2\r\n").await;
    for url in [
        format!("redis://{}", server.addr),
        format!("redis://user:secret@{}/3", server.addr),
        format!("redis://{web}"),
        format!("redis://{ssh}"),
    ] {
        let error = fault(&url).await;
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{url}: {error:?}");
        assert!(error.message().contains("is not Redis"), "{url}: {error}");
        assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
    }
}

#[tokio::test]
async fn server_that_closes_the_connection_of_a_redis_url_is_reported() {
    // A Redis server closes the connection like this if its port expects TLS.
    let silent = server_that_replies(b"").await;
    let error = fault(&format!("redis://{silent}")).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(error.message().contains("check whether it expects TLS"), "{error}");
}

#[tokio::test]
async fn truncated_redis_reply_is_not_reported_as_another_server() {
    let redis = server_that_replies(b"%7\r\n$6\r\nserv").await;
    let error = fault(&format!("redis://{redis}")).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
}

#[tokio::test]
async fn http_url_to_a_server_that_is_not_http_is_reported() {
    let ssh = server_that_replies(b"SSH-2.0-OpenSSH_9.2\r\n").await;
    let error = fault(&format!("http://{ssh}")).await;
    assert_eq!(error.kind(), ErrorKind::Internal, "{error:?}");
    assert!(error.message().contains("did not reply with HTTP"), "{error}");
}

#[tokio::test]
async fn http_url_to_redis_is_reported() {
    let redis = RedisServer::start().await;
    // Redis replies with an error to one line of the request, or closes the connection at once, or both.
    let error = fault(&format!("http://{}", redis.addr())).await;
    let expected = ["did not reply with HTTP", "if it is Redis, use a redis:// URL"];
    assert!(expected.iter().any(|message| error.message().contains(message)), "{error:?}");
}

#[tokio::test]
async fn http_url_with_an_unknown_host_name_is_reported() {
    // The empty label makes the host name invalid, so no DNS server is queried.
    let error = fault("http://unknown..invalid:8580").await;
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert!(error.message().contains("unknown host name in the store URL"), "{error}");
}

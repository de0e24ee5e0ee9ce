//! Clients: one that uses either version of HTTP, and one that sends frames of HTTP/2 by hand.

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use testkit::TestTls;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::client::TlsStream;

use crate::http::kit::{Server, within};
use crate::http::tls::open_with;

pub(super) const HTTP_1: &[u8] = b"http/1.1";
pub(super) const HTTP_2: &[u8] = b"h2";

pub(super) type Body = BoxBody<Bytes, Infallible>;

pub(super) fn body(text: &str) -> Body {
    Full::from(text.to_owned()).boxed()
}

pub(super) fn request(method: &str, uri: &str) -> Request<Body> {
    Request::builder().method(method).uri(uri).body(body("")).unwrap()
}

enum Sender {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

/// A client with one connection.
pub(super) struct Client {
    sender: Sender,
    base: String,
    /// The connection. It ends when the server closes it.
    pub(super) connection: JoinHandle<hyper::Result<()>>,
}

impl Client {
    /// Opens a connection with the version of HTTP that the server selects from `protocols`.
    pub(super) async fn open(server: &Server, tls: &TestTls, protocols: &[&[u8]]) -> Self {
        let socket = open_with(server, tls, protocols).await;
        let selected = socket.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
        let io = TokioIo::new(socket);
        let base = format!("https://{}", server.addr);
        if selected.as_deref() == Some(HTTP_2) {
            let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                // A reader that does not read blocks its stream soon, and does not block the connection.
                .initial_stream_window_size(65_535)
                .initial_connection_window_size(16 * 1024 * 1024)
                .handshake(io)
                .await
                .unwrap();
            Self { sender: Sender::Http2(sender), base, connection: tokio::spawn(connection) }
        } else {
            let (sender, connection) = http1::handshake(io).await.unwrap();
            Self { sender: Sender::Http1(sender), base, connection: tokio::spawn(connection) }
        }
    }

    pub(super) async fn http2(server: &Server, tls: &TestTls) -> Self {
        Self::open(server, tls, &[HTTP_2]).await
    }

    /// Sends a request as it is. With HTTP/2, the URI contains the host.
    pub(super) async fn try_send(&mut self, request: Request<Body>) -> hyper::Result<Response<Incoming>> {
        within(async {
            match &mut self.sender {
                Sender::Http1(sender) => {
                    sender.ready().await?;
                    sender.send_request(request).await
                }
                Sender::Http2(sender) => {
                    sender.ready().await?;
                    sender.send_request(request).await
                }
            }
        })
        .await
    }

    pub(super) async fn send(&mut self, request: Request<Body>) -> Response<Incoming> {
        self.try_send(request).await.unwrap()
    }

    /// Sends a request for a path of the server.
    pub(super) async fn call(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Body,
    ) -> Response<Incoming> {
        let mut request = Request::builder().method(method);
        request = match &self.sender {
            Sender::Http1(_) => request.uri(path).header("host", self.base.strip_prefix("https://").unwrap()),
            Sender::Http2(_) => request.uri(format!("{}{path}", self.base)),
        };
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(body).unwrap()).await
    }

    pub(super) async fn get(&mut self, path: &str) -> Response<Incoming> {
        self.call("GET", path, &[], body("")).await
    }

    /// Returns the status and the body of a response to GET.
    pub(super) async fn read(&mut self, path: &str) -> (u16, String) {
        let response = self.get(path).await;
        (response.status().as_u16(), read(response).await)
    }
}

/// Reads the body of a response.
pub(super) async fn read(response: Response<Incoming>) -> String {
    let body = within(response.into_body().collect()).await.unwrap().to_bytes();
    String::from_utf8(body.into()).unwrap()
}

/// Kinds of frames (RFC 9113, section 6).
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const GOAWAY: u8 = 7;

pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

/// The first bytes that a client sends: the preface and empty settings.
pub(super) fn preface() -> Vec<u8> {
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(SETTINGS, 0, 0, &[])].concat()
}

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Encodes the headers of a GET request (RFC 7541). `fields` are indices of the static table with their values.
pub(super) fn headers(path: &str, fields: &[(u8, &str)]) -> Vec<u8> {
    // `:method: GET` and `:scheme: https`.
    let mut block = vec![0x82, 0x87];
    for (index, value) in [(4, path)].iter().chain(fields) {
        // Indices above 14 need a second byte.
        match index {
            ..15 => block.push(*index),
            _ => block.extend([0x0f, index - 15]),
        }
        block.push(u8::try_from(value.len()).unwrap());
        block.extend(value.as_bytes());
    }
    block
}

/// Indices of the static table.
pub(super) const AUTHORITY: u8 = 1;
pub(super) const HOST: u8 = 38;

/// Opens a connection and sends bytes.
pub(super) async fn raw(server: &Server, tls: &TestTls, bytes: &[u8]) -> TlsStream<TcpStream> {
    let mut socket = open_with(server, tls, &[HTTP_2]).await;
    socket.write_all(bytes).await.unwrap();
    socket
}

/// Returns the payload of the next frame of a kind. Returns `None` if the server closes the connection before.
pub(super) async fn next_frame(socket: &mut TlsStream<TcpStream>, kind: u8) -> Option<Vec<u8>> {
    within(async {
        loop {
            let mut head = [0; 9];
            socket.read_exact(&mut head).await.ok()?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            socket.read_exact(&mut payload).await.ok()?;
            if head[3] == kind {
                return Some(payload);
            }
        }
    })
    .await
}

//! A media server that gives recorded answers.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;
use testkit::free_port;

use super::store::exchange;

/// A status and a body.
pub(super) type Answer = (u16, String);

/// Returns the answer to a path and a query.
type Serve = Box<dyn FnMut(&str, &str) -> Answer + Send>;

/// An HTTP server in this process.
pub(super) struct Fake {
    address: String,
    serve: Arc<Mutex<Serve>>,
}

impl Fake {
    pub(super) fn new(serve: impl FnMut(&str, &str) -> Answer + Send + 'static) -> Self {
        let address = format!("127.0.0.1:{}", free_port());
        let listener = TcpListener::bind(&address).unwrap();
        let serve: Arc<Mutex<Serve>> = Arc::new(Mutex::new(Box::new(serve)));
        let shared = Arc::clone(&serve);
        thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let serve = Arc::clone(&shared);
                thread::spawn(move || answer(socket, &serve));
            }
        });
        Self { address, serve }
    }

    /// A server that gives these recorded answers.
    pub(super) fn recorded(server: &str, captures: &[&str]) -> Self {
        let fake = Self::new(|_, _| not_found());
        fake.show(server, captures);
        fake
    }

    /// Gives other recorded answers from now on. All other paths are missing.
    pub(super) fn show(&self, server: &str, captures: &[&str]) {
        let answers: Vec<_> = captures.iter().map(|name| recorded(server, name)).collect();
        self.serve(move |path, _| {
            answers.iter().find(|(known, _)| known == path).map_or_else(not_found, |(_, answer)| answer.clone())
        });
    }

    pub(super) fn serve(&self, serve: impl FnMut(&str, &str) -> Answer + Send + 'static) {
        *self.serve.lock().unwrap() = Box::new(serve);
    }

    pub(super) fn api(&self) -> String {
        format!("http://{}", self.address)
    }
}

pub(super) fn not_found() -> Answer {
    (404, "404 page not found".to_owned())
}

/// Answers one request. If the status is 0, closes the connection without an answer.
fn answer(mut socket: TcpStream, serve: &Mutex<Serve>) {
    let mut lines = BufReader::new(socket.try_clone().unwrap()).lines().map_while(Result::ok);
    let Some(first) = lines.next() else { return };
    lines.find(|line| line.is_empty());
    let target = first.split(' ').nth(1).unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let (status, body) = (serve.lock().unwrap())(path, query);
    if status > 0 {
        let length = body.len();
        let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
        let _ = socket.write_all([head.as_bytes(), body.as_bytes()].concat().as_slice());
    }
}

fn capture(server: &str, name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../adapters/tests/captures");
    let file = folder.join(server).join(name);
    std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Returns the path, without the query, and the answer of a recording.
fn recorded(server: &str, name: &str) -> (String, Answer) {
    let text = capture(server, name);
    let (head, body) = text.split_once('\n').unwrap();
    let (target, status) = head.strip_prefix("GET ").unwrap().split_once(" -> ").unwrap();
    let path = target.split('?').next().unwrap().to_owned();
    (path, (status.parse().unwrap(), body.to_owned()))
}

/// Returns the body of a recorded answer.
pub(super) fn document(server: &str, name: &str) -> Value {
    serde_json::from_str(&recorded(server, name).1.1).unwrap()
}

/// Returns the requests of the recorded hooks as they were received.
pub(super) fn hooks(server: &str, name: &str) -> Vec<String> {
    let text = capture(server, name);
    let mut hooks = Vec::new();
    let mut rest = &*text;
    while let Some(start) = rest.find("### +") {
        let request = rest[start..].split_once('\n').unwrap().1;
        let Some((head, after)) = request.split_once("\n\n") else { break };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>().unwrap())
        });
        let body = &after[..length.unwrap_or(0)];
        hooks.push(format!("{}\r\n\r\n{body}", head.replace('\n', "\r\n")));
        rest = &after[body.len()..];
    }
    hooks
}

/// Sends a recorded hook to the path of the bridge, and returns the answer.
pub(super) fn send(address: &str, server: &str, hook: &str) -> String {
    let (line, rest) = hook.split_once("\r\n").unwrap();
    let version = line.rsplit(' ').next().unwrap();
    let (head, body) = rest.split_once("\r\n\r\n").unwrap();
    let head: Vec<&str> = head.split("\r\n").filter(|line| !line.starts_with("Connection:")).collect();
    let head = head.join("\r\n");
    let request = format!("POST /hooks/{server} {version}\r\nConnection: close\r\n{head}\r\n\r\n{body}");
    exchange(address, request.as_bytes()).unwrap()
}

/// Sends a recorded hook to the path of the bridge. The bridge must allow it.
#[track_caller]
pub(super) fn post(address: &str, server: &str, hook: &str) {
    let answer = send(address, server, hook);
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with(r#"{"code":0,"msg":"ok","allowed":true}"#), "{answer}");
}

//! A server whose answers a test chooses: a node of a cluster, a Sentinel, or a server that Sentinels monitor.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// Returns the reply to a command, in the form of the Redis protocol.
type Answer = dyn Fn(&[String]) -> String + Send + Sync;

/// A server that speaks the protocol of Redis. Dropping this value closes its port and its connections.
pub(crate) struct FakeNode {
    pub(crate) addr: SocketAddr,
    commands: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl FakeNode {
    /// Starts a node of a cluster. `answer` is called for all commands except `HELLO` and `TIME`.
    pub(crate) async fn start(answer: impl Fn(SocketAddr, &[String]) -> String + Send + Sync + 'static) -> Self {
        Self::with_mode("cluster", "master", answer).await
    }

    /// Starts a server with this mode and role in its reply to `HELLO`.
    pub(crate) async fn with_mode(
        mode: &'static str,
        role: &'static str,
        answer: impl Fn(SocketAddr, &[String]) -> String + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let answer: Arc<Answer> = Arc::new(move |command: &[String]| answer(addr, command));
        let commands = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&commands);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let hello = format!(
                    "%4\r\n+server\r\n+redis\r\n+version\r\n+7.0.15\r\n+mode\r\n+{mode}\r\n+role\r\n+{role}\r\n"
                );
                connections.spawn(serve(stream, hello, Arc::clone(&answer), Arc::clone(&counter)));
            }
        });
        Self { addr, commands, task }
    }

    /// Returns the number of commands that the node has answered.
    pub(crate) fn commands(&self) -> usize {
        self.commands.load(Ordering::SeqCst)
    }
}

impl Drop for FakeNode {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Returns a reply to `CLUSTER SLOTS` that gives all slots to one node.
pub(crate) fn all_slots_at(host: &str, port: u16) -> String {
    format!("*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n${}\r\n{host}\r\n:{port}\r\n", host.len())
}

pub(crate) fn is_slots(command: &[String]) -> bool {
    command.first().is_some_and(|name| name == "CLUSTER")
}

async fn serve(stream: TcpStream, hello: String, answer: Arc<Answer>, commands: Arc<AtomicUsize>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let command = read_command(&mut stream).await?;
        commands.fetch_add(1, Ordering::SeqCst);
        let reply = match command[0].as_str() {
            "HELLO" => hello.clone(),
            "TIME" => "*2\r\n$10\r\n1800000000\r\n$1\r\n0\r\n".to_owned(),
            "CLIENT" | "SELECT" | "ASKING" => "+OK\r\n".to_owned(),
            _ => answer(&command),
        };
        stream.get_mut().write_all(reply.as_bytes()).await.ok()?;
    }
}

async fn read_command(stream: &mut BufReader<TcpStream>) -> Option<Vec<String>> {
    let mut command = Vec::new();
    for _ in 0..read_number(stream).await? {
        let mut argument = vec![0; read_number(stream).await? + 2];
        stream.read_exact(&mut argument).await.ok()?;
        argument.truncate(argument.len() - 2);
        command.push(String::from_utf8_lossy(&argument).into_owned());
    }
    Some(command)
}

/// Reads the number of a line such as `*3` or `$5`.
async fn read_number(stream: &mut BufReader<TcpStream>) -> Option<usize> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok()?;
    line.get(1..)?.trim_end().parse().ok()
}

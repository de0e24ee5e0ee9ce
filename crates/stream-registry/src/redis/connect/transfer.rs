//! A separate connection that receives one large reply in parts.
//!
//! The Redis client returns a reply only when it is complete, and allocates each string of the reply. A transfer hands
//! out parts of the reply while the rest is still arriving, so that the first records can be decoded at the same time.

use std::io;

use redis::{Cmd, Pipeline, RedisError, Value};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::credentials::rejected;
use super::endpoint::{Endpoint, Stream};
use crate::error::Result as StoreResult;
use crate::redis::options::CONNECT_TIMEOUT;
use crate::redis::servers::Login;
use crate::redis::{fault, reply};

/// Size in bytes from which the complete pairs of a reply form a part.
const PART: usize = 256 * 1024;

/// The reply to `EXEC`, which is read with the protocol RESP2.
pub(in crate::redis) struct Transfer {
    socket: Box<dyn Stream>,
    buffer: Vec<u8>,
    /// Number of bytes of the buffer that have been read.
    position: usize,
}

impl Transfer {
    /// Connects, sends the commands `MULTI` … `EXEC`, and reads the replies before the elements of the reply to `EXEC`.
    pub(super) async fn begin(endpoint: &Endpoint, transaction: &Pipeline) -> StoreResult<Self> {
        let login = endpoint.access.credentials.current();
        match Self::connect(endpoint, &login, transaction).await {
            Err(error) => match endpoint.access.credentials.renew(&login, &error).await {
                Some(renewed) => Self::connect(endpoint, &renewed, transaction).await,
                None => Err(error),
            },
            begun => begun,
        }
    }

    async fn connect(endpoint: &Endpoint, login: &Login, transaction: &Pipeline) -> StoreResult<Self> {
        let opened = timeout(CONNECT_TIMEOUT, endpoint.open_stream()).await.map_err(|_| fault::no_reply())?;
        let transfer = Self { socket: opened?, buffer: Vec::new(), position: 0 };
        let started = transfer.start(endpoint.access.database, login, transaction).await;
        started.map_err(|error| match error.code() {
            Some("WRONGPASS" | "NOAUTH") => rejected(),
            _ => endpoint.tls_fault(&error).unwrap_or_else(|| fault::translate(error, false)),
        })
    }

    async fn start(mut self, database: i64, login: &Login, transaction: &Pipeline) -> Result<Self, RedisError> {
        let mut session = redis::pipe();
        if let Some(password) = &login.password {
            session.cmd("AUTH").arg(login.user.as_deref()).arg(password.reveal());
        }
        if database != 0 {
            session.cmd("SELECT").arg(database);
        }
        let mut commands = session.get_packed_pipeline();
        commands.extend(transaction.cmd_iter().flat_map(Cmd::get_packed_command));
        self.socket.write_all(&commands).await?;
        self.socket.flush().await?;
        for _ in 1..session.len() + transaction.len() {
            reply::checked(self.value().await?)?;
        }
        self.array().await?;
        Ok(self)
    }

    /// Reads the length of an array.
    pub(in crate::redis) async fn array(&mut self) -> Result<usize, RedisError> {
        loop {
            match self.unread() {
                [b'*', header @ ..] => {
                    if let Some((len, rest)) = split_number(header)? {
                        self.position = self.buffer.len() - rest.len();
                        return usize::try_from(len).map_err(|_| malformed().into());
                    }
                    self.receive().await?;
                }
                [] => self.receive().await?,
                _ => {
                    reply::checked(self.value().await?)?;
                    return Err(malformed().into());
                }
            }
        }
    }

    /// Reads an array of short values.
    pub(in crate::redis) async fn array_of_values(&mut self) -> Result<Value, RedisError> {
        let mut values = Vec::new();
        for _ in 0..self.array().await? {
            values.push(self.value().await?);
        }
        Ok(Value::Array(values))
    }

    /// Reads a short reply that is not an array.
    async fn value(&mut self) -> Result<Value, RedisError> {
        loop {
            let unread = self.unread();
            if unread.starts_with(b"$") {
                if let Some((string, rest)) = split_string(unread)? {
                    let value = string.map_or(Value::Nil, |string| Value::BulkString(string.to_vec()));
                    self.position = self.buffer.len() - rest.len();
                    return Ok(value);
                }
            } else if let Some(end) = memchr::memchr(b'\n', unread) {
                let value = redis::parse_redis_value(&unread[..=end])?;
                self.position += end + 1;
                return Ok(value);
            }
            self.receive().await?;
        }
    }

    /// Reads some of the next `pairs` pairs of strings: the last part of the reply, or a part of about 256 KiB.
    pub(in crate::redis) async fn part(&mut self, pairs: usize) -> Result<Part, RedisError> {
        self.buffer.drain(..self.position);
        self.position = 0;
        let (mut count, mut len) = (0, 0);
        loop {
            while count < pairs
                && let Some((_, rest)) = split_pair(&self.buffer[len..])?
            {
                len = self.buffer.len() - rest.len();
                count += 1;
            }
            if count == pairs || len >= PART {
                break;
            }
            self.receive().await?;
        }
        let mut rest = Vec::with_capacity(PART + PART / 4);
        rest.extend_from_slice(&self.buffer[len..]);
        let mut bytes = std::mem::replace(&mut self.buffer, rest);
        bytes.truncate(len);
        Ok(Part { bytes, count })
    }

    fn unread(&self) -> &[u8] {
        &self.buffer[self.position..]
    }

    async fn receive(&mut self) -> io::Result<()> {
        // Larger reads need fewer system calls.
        if self.buffer.capacity() - self.buffer.len() < PART / 8 {
            self.buffer.reserve(PART);
        }
        match self.socket.read_buf(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// Complete pairs of strings of a reply.
pub(in crate::redis) struct Part {
    bytes: Vec<u8>,
    pub(in crate::redis) count: usize,
}

/// Two strings of a reply. `None` stands for nil.
type Pair<'a> = (Option<&'a [u8]>, Option<&'a [u8]>);

impl Part {
    pub(in crate::redis) fn pairs(&self) -> impl Iterator<Item = Pair<'_>> {
        let mut rest = &self.bytes[..];
        std::iter::from_fn(move || {
            let (pair, next) = split_pair(rest).ok().flatten()?;
            rest = next;
            Some(pair)
        })
    }
}

/// A value from the start of a reply, and the bytes after it. `None` if the value is not complete yet.
type Split<'a, T> = io::Result<Option<(T, &'a [u8])>>;

fn split_pair(bytes: &[u8]) -> Split<'_, Pair<'_>> {
    let Some((first, rest)) = split_string(bytes)? else { return Ok(None) };
    let Some((second, rest)) = split_string(rest)? else { return Ok(None) };
    Ok(Some(((first, second), rest)))
}

fn split_string(bytes: &[u8]) -> Split<'_, Option<&[u8]>> {
    let header = match bytes {
        [b'$', header @ ..] => header,
        [] => return Ok(None),
        _ => return Err(malformed()),
    };
    let Some((len, rest)) = split_number(header)? else { return Ok(None) };
    if len == -1 {
        return Ok(Some((None, rest)));
    }
    let len = usize::try_from(len).map_err(|_| malformed())?;
    match rest.get(len..).and_then(|end| end.get(2..)) {
        Some(after) => Ok(Some((Some(&rest[..len]), after))),
        None => Ok(None),
    }
}

/// Splits off a number that ends with CR LF.
fn split_number(bytes: &[u8]) -> Split<'_, i64> {
    let (sign, digits) = match bytes {
        [b'-', digits @ ..] => (-1, digits),
        digits => (1, digits),
    };
    let mut number: i64 = 0;
    for (index, byte) in digits.iter().enumerate() {
        match (byte, digits.get(index + 1)) {
            (b'0'..=b'9', _) => {
                number = number
                    .checked_mul(10)
                    .and_then(|ten| ten.checked_add(i64::from(byte - b'0')))
                    .ok_or_else(malformed)?;
            }
            (b'\r', Some(b'\n')) if index > 0 => return Ok(Some((sign * number, &digits[index + 2..]))),
            (b'\r', None) if index > 0 => {}
            _ => return Err(malformed()),
        }
    }
    Ok(None)
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the reply does not follow the Redis protocol")
}

#[cfg(test)]
mod tests {
    use tokio::io::{DuplexStream, duplex};

    use super::*;

    /// A transfer whose socket delivers a few bytes at a time.
    fn transfer(reply: &'static [u8], bytes_at_once: usize) -> Transfer {
        let (socket, mut server): (DuplexStream, DuplexStream) = duplex(bytes_at_once);
        tokio::spawn(async move { server.write_all(reply).await });
        Transfer { socket: Box::new(socket), buffer: Vec::new(), position: 0 }
    }

    #[tokio::test]
    async fn transfer_reads_a_reply_that_arrives_in_pieces() {
        let reply =
            b"*2\r\n$1\r\nh\r\n$-1\r\n*6\r\n$2\r\na\n\r\n$3\r\n{\r\n\r\n$1\r\nb\r\n$-1\r\n$0\r\n\r\n$2\r\nok\r\n";
        for bytes_at_once in 1..reply.len() {
            let mut transfer = transfer(reply, bytes_at_once);
            let values = Value::Array(vec![Value::BulkString(b"h".to_vec()), Value::Nil]);
            assert_eq!(transfer.array_of_values().await.unwrap(), values);
            assert_eq!(transfer.array().await.unwrap(), 6);
            let part = transfer.part(3).await.unwrap();
            let expected: [Pair<'_>; 3] =
                [(Some(b"a\n"), Some(b"{\r\n")), (Some(b"b"), None), (Some(b""), Some(b"ok"))];
            assert_eq!((part.count, part.pairs().collect::<Vec<_>>()), (3, expected.to_vec()));
        }
    }

    #[tokio::test]
    async fn transfer_reports_error_replies_and_broken_replies() {
        let mut rejected = transfer(b"-NOPERM no\r\n", 4);
        assert_eq!(rejected.array().await.unwrap_err().code(), Some("NOPERM"));
        for reply in
            [&b"$1\r\na\r\n$2\r\nb"[..], b"$1\r\na\r\n:5\r\n", b"$x\r\n", b"$1\ra", b"$99999999999999999999\r\n", b""]
        {
            let error = transfer(reply, 64).part(1).await.err();
            assert!(error.is_some_and(|error| error.is_io_error()), "{:?}", String::from_utf8_lossy(reply));
        }
    }
}

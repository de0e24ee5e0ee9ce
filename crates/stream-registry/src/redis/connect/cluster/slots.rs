//! The slots of a Redis Cluster, and the nodes that serve them.

use std::ops::RangeInclusive;

use redis::Value;

use crate::error::{Error, ErrorKind, Result};
use crate::redis::reply;
use crate::redis::servers::Address;

/// Number of slots of every Redis Cluster.
const SLOTS: u16 = 16_384;

/// Returns the slot of a hash tag, which is the part of a key in braces.
pub(in crate::redis) fn slot_of(tag: &str) -> u16 {
    crc16::State::<crc16::XMODEM>::calculate(tag.as_bytes()) % SLOTS
}

/// A range of slots, with the primary that serves them and its replicas.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) slots: RangeInclusive<u16>,
    pub(super) primary: Address,
    pub(super) replicas: Vec<Address>,
}

/// Returns whether two maps name the same primary for each range. Nodes may list replicas in any order.
pub(super) fn have_same_primaries(one: &[Range], other: &[Range]) -> bool {
    let is_same = |(one, other): (&Range, &Range)| one.slots == other.slots && one.primary == other.primary;
    one.len() == other.len() && one.iter().zip(other).all(is_same)
}

/// Parses the reply to `CLUSTER SLOTS`. `asked` is the node that was asked: a node that does not know its own host name
/// leaves it out.
///
/// A range whose primary has no known address is left out, so that the other ranges can be used.
///
/// # Errors
///
/// Returns `Internal` if there are ranges, but none of them can be used.
pub(super) fn parse(answer: Value, asked: &Address) -> Result<Vec<Range>> {
    let (mut ranges, mut fault) = (Vec::new(), None);
    for range in reply::array(answer)? {
        match parse_range(range, asked) {
            Ok(range) => ranges.push(range),
            Err(error) => fault = Some(error),
        }
    }
    ranges.sort_by_key(|range: &Range| *range.slots.start());
    match fault {
        Some(error) if ranges.is_empty() => Err(error),
        _ => Ok(ranges),
    }
}

fn parse_range(range: Value, asked: &Address) -> Result<Range> {
    let mut fields = reply::array(range)?.into_iter();
    let mut slot = || u16::try_from(reply::number(&fields.next().unwrap_or(Value::Nil))?).map_err(|_| invalid());
    let slots = slot()?..=slot()?;
    let mut nodes = fields.map(|node| parse_node(node, asked));
    let primary = nodes.next().ok_or_else(invalid)??;
    // A replica whose address is unknown is left out.
    let replicas = nodes.filter_map(Result::ok).collect();
    Ok(Range { slots, primary, replicas })
}

fn parse_node(node: Value, asked: &Address) -> Result<Address> {
    let mut fields = reply::array(node)?.into_iter();
    let host = reply::optional_bytes(fields.next().unwrap_or(Value::Nil))?.unwrap_or_default();
    let host = String::from_utf8(host).map_err(|_| invalid())?;
    let port = reply::number(&fields.next().unwrap_or(Value::Nil))?;
    node_address(&host, port, asked).ok_or_else(invalid)
}

/// Parses the address in a `MOVED` or `ASK` error of the node `asked`.
pub(super) fn redirect_address(text: &str, asked: &Address) -> Option<Address> {
    let (host, port) = text.rsplit_once(':')?;
    node_address(host, port.parse().ok()?, asked)
}

fn node_address(host: &str, port: i64, asked: &Address) -> Option<Address> {
    match (host, asked) {
        // The question mark stands for a host name that is configured as unknown.
        ("?", _) => None,
        ("", Address::Tcp(host, _)) => Address::announced(host, port),
        ("", Address::Unix(_)) => None,
        (host, _) => Address::announced(host, port),
    }
}

fn invalid() -> Error {
    Error::new(ErrorKind::Internal, "unexpected reply from Redis to CLUSTER SLOTS")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(host: Value, port: i64) -> Value {
        Value::Array(vec![host, Value::Int(port), Value::BulkString(b"id".to_vec()), Value::Array(vec![])])
    }

    fn host(name: &str) -> Value {
        Value::BulkString(name.as_bytes().to_vec())
    }

    #[test]
    fn cluster_slots_are_parsed_with_unknown_hosts() {
        let asked = Address::Tcp("asked".to_owned(), 1);
        let range =
            |nodes: Vec<Value>| Value::Array(vec![Value::Array([vec![Value::Int(0), Value::Int(5)], nodes].concat())]);
        let parsed = parse(range(vec![node(host("a"), 7), node(host("?"), 8), node(host("b"), 9)]), &asked).unwrap();
        let address = |host: &str, port| Address::Tcp(host.to_owned(), port);
        let expected = Range { slots: 0..=5, primary: address("a", 7), replicas: vec![address("b", 9)] };
        assert_eq!(parsed, [expected]);
        let Value::Array(mut two) = range(vec![node(host("?"), 8)]) else { panic!("an array") };
        two.push(Value::Array(vec![Value::Int(6), Value::Int(9), node(host("b"), 9)]));
        let expected = Range { slots: 6..=9, primary: address("b", 9), replicas: vec![] };
        assert_eq!(parse(Value::Array(two), &asked).unwrap(), [expected], "the other range is usable");
        for unknown in [Value::Nil, host("")] {
            assert_eq!(parse(range(vec![node(unknown, 7)]), &asked).unwrap()[0].primary, address("asked", 7));
        }
        for broken in
            [range(vec![]), range(vec![node(host("?"), 7)]), range(vec![node(host("a"), 70_000)]), Value::Int(1)]
                .into_iter()
                .chain([range(vec![node(host("a"), 0)]), range(vec![node(host(&"a".repeat(256)), 7)])])
        {
            assert!(parse(broken, &asked).is_err());
        }
    }

    #[test]
    fn redirects_name_a_host_or_mean_the_asked_node() {
        let asked = Address::Tcp("asked".to_owned(), 1);
        let parse = |text| redirect_address(text, &asked).map(|address| address.to_string());
        assert_eq!(parse("10.0.0.1:7000").as_deref(), Some("10.0.0.1:7000"));
        assert_eq!(parse("::1:7000").as_deref(), Some("[::1]:7000"));
        assert_eq!(parse(":7000").as_deref(), Some("asked:7000"));
        assert_eq!((parse("?:7000"), parse("x"), parse("a:b")), (None, None, None));
        assert_eq!((parse("a:0"), parse("\u{1b}[31m:7000")), (None, None));
    }

    #[test]
    fn slot_of_a_tag_is_the_one_that_redis_computes() {
        // From `CLUSTER KEYSLOT`.
        assert_eq!((slot_of("foo"), slot_of("53t")), (12182, 128));
    }
}

//! Queries on live streams: find, summary and `get_many`.

use std::collections::BTreeMap;

use super::case::{Case, Check, count, ensure, fails, fault, id, same, stream};
use super::declare;
use crate::error::{ErrorKind, Operation};
use crate::query::{By, Ended, Filter, Order, Query, SortField, Summary};
use crate::registry::Page;
use crate::stream::limits::{MAX_LABELS, MAX_STRING_BYTES};
use crate::stream::{Stream, StreamStatus, StreamType};

declare! {
    "queries", Long: [
        find_selects_by_each_condition,
        find_search_ignores_case,
        find_sorts_by_each_field_in_both_directions,
        pages_of_find_contain_every_match_once,
        every_page_of_find_reports_the_total_of_matches,
        find_shows_the_result_of_the_last_write,
        find_cursor_stays_valid_after_its_stream_is_unregistered,
        find_rejects_a_cursor_of_another_sort_order,
        find_rejects_a_malformed_cursor,
        queries_reject_invalid_conditions,
        get_many_returns_one_result_per_id_in_order,
        summary_counts_streams_by_node_type_and_status,
    ],
}

/// The fields by which `find` can sort streams.
const SORT_FIELDS: [SortField; 12] = [
    SortField::Id,
    SortField::Type,
    SortField::Status,
    SortField::Node,
    SortField::SourceAddr,
    SortField::CreatedAt,
    SortField::LastHeartbeat,
    SortField::Bitrate,
    SortField::BytesReceived,
    SortField::PacketsReceived,
    SortField::PacketsLost,
    SortField::Viewers,
];

fn ids(streams: &[Stream]) -> Vec<&str> {
    streams.iter().map(|stream| stream.id.as_str()).collect()
}

/// Returns the first page of the streams that match a filter, in the order of ids.
async fn found(case: &Case, filter: Filter) -> Check<Page> {
    Ok(case.registry().find(&Query::default().filter(filter)).await?)
}

/// Checks that exactly the expected streams match a filter.
async fn assert_selected(case: &Case, filter: Filter, expected: &[&str]) -> Check {
    let page = found(case, filter.clone()).await?;
    same(&format!("the streams of {filter:?}"), ids(&page.streams), expected.to_vec())?;
    same(&format!("the total of {filter:?}"), page.total, expected.len() as u64)
}

/// Reads all pages of a query and checks the total of each.
async fn all_pages(case: &Case, query: &Query, total: u64) -> Check<Vec<Stream>> {
    let mut streams = Vec::new();
    let mut query = query.clone();
    loop {
        let page = case.registry().find(&query).await?;
        let limit = usize::try_from(query.limit.get()).unwrap_or(usize::MAX);
        ensure(page.streams.len() <= limit, "a page is longer than its limit")?;
        same("the total", page.total, total)?;
        streams.extend(page.streams);
        match page.next {
            Some(next) => query.cursor = Some(next),
            None => return Ok(streams),
        }
        ensure(streams.len() as u64 <= total, "the pages do not end")?;
    }
}

/// Registers ten different streams and returns their records. In most fields, several streams have the same value.
async fn put_varied(case: &Case) -> Check<Vec<Stream>> {
    let mut records = Vec::new();
    for n in 0..10_u64 {
        // The streams are not registered in the order of their ids.
        let mut varied = stream(&format!("s{}", n * 7 % 10));
        varied.kind = if n % 3 == 0 { StreamType::Rtp } else { StreamType::Srt };
        varied.status = if n % 4 == 0 { StreamStatus::Active } else { StreamStatus::Paused };
        varied.source_addr = format!("203.0.113.{}:40112", n % 5);
        // Some node names differ only after their first 64 bytes. Sorting compares only these bytes, so the ids decide
        // the order.
        varied.node = match n % 4 {
            0 => None,
            1 => Some(format!("{}{}", "n".repeat(64), 9 - n)),
            _ => Some(format!("node{}", n % 2)),
        };
        varied.bitrate = n % 3 * 1_000;
        varied.bytes_received = (1 << 62) + n % 4;
        varied.packets_received = 20 - n;
        varied.packets_lost = n % 2;
        varied.viewers = (n % 3 > 0).then_some(n % 3);
        records.push(case.put(&varied).await?);
    }
    Ok(records)
}

/// A sort key: the value of one field of a stream.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Number(i128),
    Bytes(Vec<u8>),
}

fn key(stream: &Stream, field: SortField) -> Key {
    let bytes = |string: &str| Key::Bytes(string.bytes().take(64).collect());
    match field {
        SortField::Id => Key::Number(0),
        SortField::Type => bytes(stream.kind.as_str()),
        SortField::Status => bytes(stream.status.as_str()),
        SortField::Node => bytes(stream.node.as_deref().unwrap_or_default()),
        SortField::SourceAddr => bytes(&stream.source_addr),
        SortField::CreatedAt => Key::Number(stream.created_at.as_unix_nanos()),
        SortField::LastHeartbeat => Key::Number(stream.last_heartbeat.as_unix_nanos()),
        SortField::Bitrate => Key::Number(stream.bitrate.into()),
        SortField::BytesReceived => Key::Number(stream.bytes_received.into()),
        SortField::PacketsReceived => Key::Number(stream.packets_received.into()),
        SortField::PacketsLost => Key::Number(stream.packets_lost.into()),
        SortField::Viewers => Key::Number(stream.viewers.unwrap_or_default().into()),
    }
}

async fn find_selects_by_each_condition(case: &Case) -> Check {
    let mut one = stream("a");
    one.status = StreamStatus::Active;
    one.node = Some("ingest-1".to_owned());
    one.labels = BTreeMap::from([("site".to_owned(), "north".to_owned()), ("tier".to_owned(), "1".to_owned())]);
    let mut two = stream("b");
    two.kind = StreamType::Rtp;
    two.labels = BTreeMap::from([("site".to_owned(), "south".to_owned())]);
    let mut three = stream("c");
    three.node = Some("ingest-10".to_owned());
    for given in [&one, &two, &three] {
        case.put(given).await?;
    }
    let all = Filter::default;
    assert_selected(case, all(), &["a", "b", "c"]).await?;
    assert_selected(case, all().status(StreamStatus::Active), &["a"]).await?;
    assert_selected(case, all().status(StreamStatus::Error), &[]).await?;
    assert_selected(case, all().kind(StreamType::Rtp), &["b"]).await?;
    assert_selected(case, all().kind(StreamType::Srt), &["a", "c"]).await?;
    assert_selected(case, all().node("ingest-1"), &["a"]).await?;
    assert_selected(case, all().node("INGEST-1"), &[]).await?;
    assert_selected(case, all().node(""), &["b"]).await?;
    assert_selected(case, all().label("site", "north"), &["a"]).await?;
    assert_selected(case, all().label("site", "North"), &[]).await?;
    assert_selected(case, all().label("site", "north").label("tier", "1"), &["a"]).await?;
    assert_selected(case, all().label("site", "north").label("tier", "2"), &[]).await?;
    assert_selected(case, all().kind(StreamType::Srt).node("ingest-10"), &["c"]).await?;
    assert_selected(case, all().kind(StreamType::Rtp).node("ingest-10"), &[]).await
}

async fn find_search_ignores_case(case: &Case) -> Check {
    let mut one = stream("Cam-1");
    one.node = Some("Ingest-7".to_owned());
    one.labels = BTreeMap::from([("site".to_owned(), "Élysée ὈΔΥΣΣΕΎΣ-2".to_owned())]);
    let mut two = stream("mic");
    two.source_addr = "[2001:DB8::1]:5004".to_owned();
    two.video_codec = "HEVC".to_owned();
    for given in [&one, &two] {
        case.put(given).await?;
    }
    for (search, expected) in [
        ("cAM-", &["Cam-1"][..]),
        ("INGEST", &["Cam-1"]),
        ("éLYS", &["Cam-1"]),
        // The lower-case sigma at the end of a word is another character: ς instead of σ.
        ("Ὀδυσσεύς", &["Cam-1"]),
        ("2001:db8", &["mic"]),
        ("m", &["Cam-1", "mic"]),
        ("", &["Cam-1", "mic"]),
        // The search ignores label names and codecs.
        ("site", &[]),
        ("hevc", &[]),
    ] {
        assert_selected(case, Filter::default().search(search), expected).await?;
    }
    let query = Query::default().filter(Filter::default().search("a\0b"));
    fails(case.registry().find(&query).await, ErrorKind::InvalidArgument)?;
    Ok(())
}

async fn find_sorts_by_each_field_in_both_directions(case: &Case) -> Check {
    let mut expected = put_varied(case).await?;
    for field in SORT_FIELDS {
        let ascending = Order::by(field);
        expected.sort_by(|one, other| {
            key(one, field).cmp(&key(other, field)).then_with(|| one.id.as_str().cmp(other.id.as_str()))
        });
        let sorted = case.registry().find(&Query::default().order(ascending)).await?;
        same(&format!("the order by {ascending}"), ids(&sorted.streams), ids(&expected))?;
        let descending = ascending.descending();
        let reversed = case.registry().find(&Query::default().order(descending)).await?;
        let expected: Vec<_> = ids(&expected).into_iter().rev().collect();
        same(&format!("the order by {descending}"), ids(&reversed.streams), expected)?;
    }
    Ok(())
}

async fn pages_of_find_contain_every_match_once(case: &Case) -> Check {
    let records = put_varied(case).await?;
    let filter = Filter::default().status(StreamStatus::Paused);
    let matches = records.iter().filter(|record| record.status == StreamStatus::Paused).count() as u64;
    for field in SORT_FIELDS {
        for order in [Order::by(field), Order::by(field).descending()] {
            let query = Query::default().filter(filter.clone()).order(order);
            let whole = all_pages(case, &query, matches).await?;
            same("the number of matches", whole.len() as u64, matches)?;
            let paged = all_pages(case, &query.limit(count(2)), matches).await?;
            same(&format!("the pages by {order}"), ids(&paged), ids(&whole))?;
        }
    }
    Ok(())
}

async fn every_page_of_find_reports_the_total_of_matches(case: &Case) -> Check {
    case.put_all((0..30).map(|n| format!("cam{n:02}"))).await?;
    case.put_all((0..5).map(|n| format!("mic{n}"))).await?;
    let query = Query::default().limit(count(7));
    same("all streams", all_pages(case, &query, 35).await?.len(), 35)?;
    let cams = query.filter(Filter::default().search("cam"));
    same("the cams", all_pages(case, &cams, 30).await?.len(), 30)?;
    // A full page has no cursor if no match follows.
    let page = case.registry().find(&cams.limit(count(30))).await?;
    same("the only page", (page.streams.len(), page.next), (30, None))
}

async fn find_shows_the_result_of_the_last_write(case: &Case) -> Check {
    for round in 0..10 {
        let name = format!("s{round}");
        case.put(&stream(&name)).await?;
        case.registry().update_status(&id(&name), StreamStatus::Error).await?;
        assert_selected(case, Filter::default().status(StreamStatus::Error), &[&name]).await?;
        case.registry().unregister(&id(&name)).await?;
        assert_selected(case, Filter::default(), &[]).await?;
    }
    Ok(())
}

async fn find_cursor_stays_valid_after_its_stream_is_unregistered(case: &Case) -> Check {
    case.put_all((0..10).map(|n| format!("s{n}"))).await?;
    let query = Query::default().limit(count(4));
    let first = case.registry().find(&query).await?;
    same("the first page", ids(&first.streams), vec!["s0", "s1", "s2", "s3"])?;
    let cursor = first.next.ok_or_else(|| fault("the first page has no cursor"))?;
    case.registry().unregister(&id("s3")).await?;
    case.registry().unregister(&id("s4")).await?;
    // The cursor is parsed from its string, as in a server that gets the cursor from a client. It is valid twice.
    for _ in 0..2 {
        let next = case.registry().find(&query.clone().cursor(cursor.as_str().parse()?)).await?;
        same("the next page", ids(&next.streams), vec!["s5", "s6", "s7", "s8"])?;
        same("the total", next.total, 8)?;
    }
    // A cursor is only a position in the sort order, so it is also valid with other conditions.
    let other = query.cursor(cursor).filter(Filter::default().search("9"));
    same("the matches after the cursor", ids(&case.registry().find(&other).await?.streams), vec!["s9"])
}

async fn assert_rejected(case: &Case, query: Query) -> Check {
    let cursor = query.cursor.clone();
    let error = fails(case.registry().find(&query).await, ErrorKind::InvalidCursor)
        .map_err(|_| fault(&format!("the cursor {cursor:?} is accepted for the order {}", query.order)))?;
    same("the operation", error.operation(), Some(Operation::Find))
}

async fn find_rejects_a_cursor_of_another_sort_order(case: &Case) -> Check {
    put_varied(case).await?;
    let by_bitrate = Order::by(SortField::Bitrate);
    let query = Query::default().limit(count(3));
    let first = case.registry().find(&query.clone().order(by_bitrate)).await?;
    let cursor = first.next.ok_or_else(|| fault("the first page has no cursor"))?;
    for order in [by_bitrate.descending(), Order::by(SortField::BytesReceived), Order::default()] {
        assert_rejected(case, query.clone().order(order).cursor(cursor.clone())).await?;
    }
    Ok(())
}

async fn find_rejects_a_malformed_cursor(case: &Case) -> Check {
    put_varied(case).await?;
    let query = Query::default().order(Order::by(SortField::Node)).limit(count(3));
    let first = case.registry().find(&query).await?;
    let cursor = first.next.ok_or_else(|| fault("the first page has no cursor"))?.as_str().to_owned();
    let malformed = [format!("{cursor}{cursor}"), format!("{cursor}0"), format!("0{cursor}"), cursor[..1].to_owned()];
    for malformed in malformed.iter().map(String::as_str).chain(["0", "x", "null", "v.node", "a/b?c=d&e"]) {
        assert_rejected(case, query.clone().cursor(malformed.parse()?)).await?;
    }
    Ok(())
}

async fn queries_reject_invalid_conditions(case: &Case) -> Check {
    let long = "x".repeat(MAX_STRING_BYTES + 1);
    let many = (0..=MAX_LABELS).fold(Filter::default(), |filter, n| filter.label(format!("l{n}"), "x"));
    for filter in [
        Filter::default().node(&long),
        Filter::default().search(&long),
        Filter::default().label("", "x"),
        Filter::default().label("a=b", "x"),
        Filter::default().label("a", "x".repeat(257)),
        many,
    ] {
        let query = Query::default().filter(filter.clone());
        fails(case.registry().find(&query).await, ErrorKind::InvalidArgument)?;
        fails(case.registry().summary(&filter, By::Node).await, ErrorKind::InvalidArgument)?;
    }
    let history = case.registry().history(&Ended::default().node(&long), count(1)).await;
    fails(history, ErrorKind::InvalidArgument)?;
    Ok(())
}

async fn get_many_returns_one_result_per_id_in_order(case: &Case) -> Check {
    same("the answer to no ids", case.registry().get_many(&[]).await?, Vec::new())?;
    case.put_all(["a", "b", "c"].map(str::to_owned)).await?;
    case.registry().unregister(&id("c")).await?;
    let names = ["b", "unknown", "a", "c", "b"];
    let answers = case.registry().get_many(&names.map(id)).await?;
    let found: Vec<_> = answers.iter().map(|answer| answer.as_ref().map(|stream| stream.id.as_str())).collect();
    same("the streams", found, vec![Some("b"), None, Some("a"), None, Some("b")])?;
    for record in answers.into_iter().flatten() {
        case.unchanged(&record).await?;
    }
    // A store needs several steps to read this many records.
    let many: Vec<_> = (0..1_100).map(|n| if n % 3 == 0 { id("a") } else { id(&format!("unknown{n}")) }).collect();
    let answers = case.registry().get_many(&many).await?;
    same("the number of answers", answers.len(), 1_100)?;
    ensure(answers.iter().enumerate().all(|(n, answer)| answer.is_some() == (n % 3 == 0)), "answers are out of order")
}

/// Returns the key and the number of streams of each group.
fn groups(summary: &Summary) -> Vec<(Option<&str>, u64)> {
    summary.groups.iter().map(|group| (group.key.as_deref(), group.streams)).collect()
}

async fn summary_counts_streams_by_node_type_and_status(case: &Case) -> Check {
    let empty = case.registry().summary(&Filter::default(), By::Node).await?;
    same("the summary of no streams", (empty.total, empty.groups.len()), (0, 0))?;
    for (name, kind, node) in
        [("a", StreamType::Srt, Some("n1")), ("b", StreamType::Rtp, Some("n1")), ("c", StreamType::Srt, None)]
    {
        let mut given = stream(name);
        given.kind = kind;
        given.node = node.map(str::to_owned);
        (given.bitrate, given.packets_received, given.packets_lost) = (1_000, 10, 1);
        case.put(&given).await?;
    }
    case.registry().update_status(&id("a"), StreamStatus::Error).await?;
    let all = Filter::default();
    let by_node = case.registry().summary(&all, By::Node).await?;
    same("the groups by node", groups(&by_node), vec![(None, 1), (Some("n1"), 2)])?;
    same("the totals", (by_node.by.as_str(), by_node.total, by_node.bitrate), ("node", 3, 3_000))?;
    let sums = by_node.groups.last().map(|group| (group.bitrate, group.packets_received, group.packets_lost));
    same("the sums of n1", sums, Some((2_000, 20, 2)))?;
    let by_type = case.registry().summary(&all, By::Type).await?;
    same("the groups by type", groups(&by_type), vec![(Some("rtp"), 1), (Some("srt"), 2)])?;
    let by_status = case.registry().summary(&all, By::Status).await?;
    same("the groups by status", groups(&by_status), vec![(Some("connecting"), 2), (Some("error"), 1)])?;
    let filtered = case.registry().summary(&Filter::default().node(""), By::Type).await?;
    same("the filtered groups", (filtered.total, groups(&filtered)), (1, vec![(Some("srt"), 1)]))
}

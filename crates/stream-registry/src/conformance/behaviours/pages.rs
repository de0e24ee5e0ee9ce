//! Pages of the list.

use std::collections::BTreeSet;

use super::case::{Case, Check, count, fails, fault, id, same, sorted, stream};
use super::declare;
use crate::error::{ErrorKind, Operation};
use crate::stream::Cursor;

declare! {
    "pages", Long: [
        first_page_is_empty_when_no_stream_is_live,
        pages_of_any_size_contain_every_stream,
        every_page_reports_the_total_number_of_streams,
        pages_contain_every_stream_that_is_live_throughout,
        pages_continue_after_listed_streams_are_unregistered,
        page_cursor_can_be_used_again,
        made_up_page_cursor_is_rejected,
        altered_page_cursor_is_rejected,
    ],
}

async fn first_page_is_empty_when_no_stream_is_live(case: &Case) -> Check {
    let page = case.registry().list_page(None, count(10)).await?;
    same("the page", (page.streams.len(), page.next, page.total), (0, None, 0))
}

async fn pages_of_any_size_contain_every_stream(case: &Case) -> Check {
    let names: Vec<_> = (0..57).map(|n| format!("s{n:02}")).collect();
    case.put_all(names.clone()).await?;
    for size in [1, 2, 7, 56, 57, 58, 1_000, u32::MAX] {
        let mut found = case.paged(size).await?;
        found.dedup();
        same(&format!("all pages of {size}"), found, names.clone())?;
    }
    Ok(())
}

async fn every_page_reports_the_total_number_of_streams(case: &Case) -> Check {
    case.put_all((0..30).map(|n| format!("s{n}"))).await?;
    let mut totals = BTreeSet::new();
    case.pages(7, |page| totals.extend([page.total])).await?;
    same("the totals", totals, BTreeSet::from([30]))?;
    for n in 0..10 {
        case.registry().unregister(&id(&format!("s{n}"))).await?;
    }
    same("the total", case.registry().list_page(None, count(7)).await?.total, 20)
}

async fn pages_contain_every_stream_that_is_live_throughout(case: &Case) -> Check {
    let names: Vec<_> = (0..300).map(|n| format!("stays {n:03}")).collect();
    case.put_all(names.clone()).await?;
    for size in [5, 40] {
        let registry = case.shared();
        // The number of rounds is limited. Otherwise, the pages of a store that also lists new streams would never end.
        let changes = tokio::spawn(async move {
            for round in 0..250 {
                let name = format!("{size} comes and goes {round}");
                registry.register(&stream(&name)).await?;
                if round >= 20 {
                    registry.unregister(&id(&format!("{size} comes and goes {}", round - 20))).await?;
                }
                registry.update_heartbeat(&id(&format!("stays {round:03}"))).await?;
                tokio::task::yield_now().await;
            }
            Ok::<(), crate::error::Error>(())
        });
        loop {
            let done = changes.is_finished();
            let found: BTreeSet<_> =
                case.paged(size).await?.into_iter().filter(|name| name.starts_with("stays")).collect();
            same("the streams that stay", found, names.iter().cloned().collect())?;
            if done {
                break;
            }
            // An in-memory store never suspends its caller. Without this yield, the other task could not run.
            tokio::task::yield_now().await;
        }
        changes.await.map_err(|error| fault(&error.to_string()))??;
    }
    Ok(())
}

async fn pages_continue_after_listed_streams_are_unregistered(case: &Case) -> Check {
    // A store needs more than one page for 600 streams, even if it ignores the requested page size.
    let names: Vec<_> = (0..600).map(|n| format!("s{n:03}")).collect();
    case.put_all(names.clone()).await?;
    let first = case.registry().list_page(None, count(50)).await?;
    let listed = sorted(&first.streams);
    let cursor = first.next.ok_or_else(|| fault("600 streams are on one page of 50"))?;
    for name in &listed {
        case.registry().unregister(&id(name)).await?;
    }
    let mut found = rest(case, cursor).await?;
    found.extend(listed);
    same("the streams of all pages", found, names.into_iter().collect())
}

async fn page_cursor_can_be_used_again(case: &Case) -> Check {
    case.put_all((0..600).map(|n| format!("s{n:03}"))).await?;
    let first = case.registry().list_page(None, count(50)).await?;
    let cursor = first.next.ok_or_else(|| fault("600 streams are on one page of 50"))?;
    let once = rest(case, cursor.clone()).await?;
    // The cursor is parsed from its string, as in a server that gets the cursor from a client.
    let again = rest(case, cursor.as_str().parse()?).await?;
    same("the streams", again.clone(), once)?;
    let mut found = again;
    found.extend(sorted(&first.streams));
    same("the number of streams", found.len(), 600)
}

/// Returns the ids of all streams after a cursor.
async fn rest(case: &Case, cursor: Cursor) -> Check<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let mut next = Some(cursor);
    while let Some(cursor) = next {
        let page = case.registry().list_page(Some(&cursor), count(50)).await?;
        found.extend(sorted(&page.streams));
        next = page.next;
    }
    Ok(found)
}

async fn assert_rejected(case: &Case, cursor: &str) -> Check {
    let cursor: Cursor = cursor.parse()?;
    let answer = case.registry().list_page(Some(&cursor), count(10)).await;
    let error = fails(answer, ErrorKind::InvalidCursor).map_err(|_| fault(&format!("{cursor} is accepted")))?;
    same("the operation", error.operation(), Some(Operation::ListPage))
}

async fn made_up_page_cursor_is_rejected(case: &Case) -> Check {
    case.put(&stream("a")).await?;
    for cursor in
        ["0", "1", "-1", "42", "x", "null", "cursor", "%00", "AAAAAAAA", "18446744073709551616", "0x0", "a/b?c=d&e"]
    {
        assert_rejected(case, cursor).await?;
    }
    assert_rejected(case, &"f".repeat(1_024)).await?;
    assert_rejected(case, &"0".repeat(25)).await
}

async fn altered_page_cursor_is_rejected(case: &Case) -> Check {
    case.put_all((0..600).map(|n| format!("s{n:03}"))).await?;
    let first = case.registry().list_page(None, count(50)).await?;
    let cursor = first.next.ok_or_else(|| fault("600 streams are on one page of 50"))?;
    let cursor = cursor.as_str();
    for malformed in [format!("{cursor}{cursor}"), format!("{cursor}0"), format!("0{cursor}"), cursor[..1].to_owned()] {
        assert_rejected(case, &malformed).await?;
    }
    Ok(())
}

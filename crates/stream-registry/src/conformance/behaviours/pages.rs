//! Pages of the list.

use std::collections::BTreeSet;

use super::case::{Case, Check, count, fails, fault, id, same, sorted, stream};
use super::declare;
use crate::error::{ErrorKind, Operation};
use crate::stream::Cursor;

declare! {
    "pages", Long: [
        of_nothing_are_one_empty_page,
        of_any_size_have_every_stream,
        carry_the_total,
        have_every_stream_that_lives_throughout,
        go_on_where_streams_ended,
        a_cursor_is_good_more_than_once,
        refuse_a_cursor_that_no_store_made,
        refuse_a_malformed_cursor,
    ],
}

async fn of_nothing_are_one_empty_page(case: &Case) -> Check {
    let page = case.registry().list_page(None, count(10)).await?;
    same("the page", (page.streams.len(), page.next, page.total), (0, None, 0))
}

async fn of_any_size_have_every_stream(case: &Case) -> Check {
    let names: Vec<_> = (0..57).map(|at| format!("s{at:02}")).collect();
    case.put_all(names.clone()).await?;
    for size in [1, 2, 7, 56, 57, 58, 1_000, u32::MAX] {
        let mut found = case.paged(size).await?;
        found.dedup();
        same(&format!("all pages of {size}"), found, names.clone())?;
    }
    Ok(())
}

async fn carry_the_total(case: &Case) -> Check {
    case.put_all((0..30).map(|at| format!("s{at}"))).await?;
    let mut totals = BTreeSet::new();
    case.pages(7, |page| totals.extend([page.total])).await?;
    same("the totals", totals, BTreeSet::from([30]))?;
    for at in 0..10 {
        case.registry().unregister(&id(&format!("s{at}"))).await?;
    }
    same("the total", case.registry().list_page(None, count(7)).await?.total, 20)
}

async fn have_every_stream_that_lives_throughout(case: &Case) -> Check {
    let names: Vec<_> = (0..300).map(|at| format!("stays {at:03}")).collect();
    case.put_all(names.clone()).await?;
    for size in [5, 40] {
        let registry = case.shared();
        // Bounded: a store may list what is registered meanwhile, and a faster writer has no end.
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
            // A store in memory never makes a caller wait; the writers need their turn.
            tokio::task::yield_now().await;
        }
        changes.await.map_err(|error| fault(&error.to_string()))??;
    }
    Ok(())
}

async fn go_on_where_streams_ended(case: &Case) -> Check {
    // More than stores hand out at once however few are asked for.
    let names: Vec<_> = (0..600).map(|at| format!("s{at:03}")).collect();
    case.put_all(names.clone()).await?;
    let first = case.registry().list_page(None, count(50)).await?;
    let seen = sorted(&first.streams);
    let cursor = first.next.ok_or_else(|| fault("600 streams come in one page of 50"))?;
    for name in &seen {
        case.registry().unregister(&id(name)).await?;
    }
    let mut found = rest(case, cursor).await?;
    found.extend(seen);
    same("the streams of all pages", found, names.into_iter().collect())
}

async fn a_cursor_is_good_more_than_once(case: &Case) -> Check {
    case.put_all((0..600).map(|at| format!("s{at:03}"))).await?;
    let first = case.registry().list_page(None, count(50)).await?;
    let cursor = first.next.ok_or_else(|| fault("600 streams come in one page of 50"))?;
    let once = rest(case, cursor.clone()).await?;
    // Through its text, as a client of a server sends it.
    let again = rest(case, cursor.as_str().parse()?).await?;
    same("the streams", again.clone(), once)?;
    let mut found = again;
    found.extend(sorted(&first.streams));
    same("the number of streams", found.len(), 600)
}

/// All streams from a cursor on.
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

async fn refused(case: &Case, cursor: &str) -> Check {
    let cursor: Cursor = cursor.parse()?;
    let answer = case.registry().list_page(Some(&cursor), count(10)).await;
    let error = fails(answer, ErrorKind::InvalidCursor).map_err(|_| fault(&format!("{cursor} is not refused")))?;
    same("the operation", error.operation(), Some(Operation::ListPage))
}

async fn refuse_a_cursor_that_no_store_made(case: &Case) -> Check {
    case.put(&stream("a")).await?;
    for text in
        ["0", "1", "-1", "42", "x", "null", "cursor", "%00", "AAAAAAAA", "18446744073709551616", "0x0", "a/b?c=d&e"]
    {
        refused(case, text).await?;
    }
    refused(case, &"f".repeat(1_024)).await?;
    refused(case, &"0".repeat(25)).await
}

async fn refuse_a_malformed_cursor(case: &Case) -> Check {
    case.put_all((0..600).map(|at| format!("s{at:03}"))).await?;
    let first = case.registry().list_page(None, count(50)).await?;
    let cursor = first.next.ok_or_else(|| fault("600 streams come in one page of 50"))?;
    let text = cursor.as_str();
    for malformed in [format!("{text}{text}"), format!("{text}0"), format!("0{text}"), text[..1].to_owned()] {
        refused(case, &malformed).await?;
    }
    Ok(())
}

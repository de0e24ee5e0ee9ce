//! Behaviours of the index of ids. They need hooks that the store under test provides.

use super::case::{Case, Check, Fault, ensure, fails, id, same, stream, totals, write};
use super::declare;
use crate::error::ErrorKind;
use crate::registry::{Change, Outcome};
use crate::stream::{StreamPatch, StreamStatus};

declare! {
    "index", Long: [
        every_write_restores_a_missing_index_entry,
        renewal_restores_a_missing_index_entry,
        record_without_an_index_entry_is_still_live,
        listing_skips_and_removes_index_entries_without_a_record,
        index_entry_without_a_record_does_not_block_registration,
        unregister_removes_the_index_entry,
    ],
}

async fn remove(case: &Case, name: &str) -> Check {
    case.instance.remove_from_index(&id(name)).await.ok_or(Fault::NoHook("remove_from_index"))
}

async fn add(case: &Case, name: &str) -> Check {
    case.instance.add_to_index(&id(name)).await.ok_or(Fault::NoHook("add_to_index"))
}

async fn index(case: &Case) -> Check<Vec<String>> {
    let mut index = case.instance.index().await.ok_or(Fault::NoHook("index"))?;
    index.sort();
    Ok(index)
}

async fn every_write_restores_a_missing_index_entry(case: &Case) -> Check {
    case.put(&stream("a")).await?;
    for change in [
        Change::Heartbeat,
        Change::Status(StreamStatus::Active),
        Change::Stats(Box::new(totals())),
        Change::Patch(Box::new(StreamPatch::default().label("a", "b"))),
        Change::Update(Box::new(stream("a"))),
    ] {
        remove(case, "a").await?;
        case.registry().write_one(write("a", change.clone())).await?;
        same(&format!("the list after {change:?}"), case.listed().await?, vec!["a".to_owned()])?;
    }
    Ok(())
}

async fn renewal_restores_a_missing_index_entry(case: &Case) -> Check {
    case.put(&stream("a")).await?;
    remove(case, "a").await?;
    same("the outcome", case.registry().register(&stream("a")).await?.outcome, Outcome::Renewed)?;
    same("the list", case.listed().await?, vec!["a".to_owned()])
}

async fn record_without_an_index_entry_is_still_live(case: &Case) -> Check {
    let record = case.put(&stream("a")).await?;
    remove(case, "a").await?;
    case.unchanged(&record).await?;
    let mut other = stream("a");
    other.source_addr = "10.9.9.9:1".to_owned();
    fails(case.registry().register(&other).await, ErrorKind::AlreadyExists)?;
    same("the last record", case.registry().unregister(&id("a")).await?, record)
}

async fn listing_skips_and_removes_index_entries_without_a_record(case: &Case) -> Check {
    case.put(&stream("a")).await?;
    for by_pages in [false, true] {
        for n in 0..30 {
            add(case, &format!("ghost {n}")).await?;
        }
        let found = if by_pages { case.paged(10).await? } else { case.listed().await? };
        ensure(found.iter().all(|name| name == "a"), &format!("ids without a record are listed: {found:?}"))?;
        same("the index", index(case).await?, vec!["a".to_owned()])?;
    }
    fails(case.registry().get(&id("ghost 1")).await, ErrorKind::NotFound)?;
    Ok(())
}

async fn index_entry_without_a_record_does_not_block_registration(case: &Case) -> Check {
    add(case, "a").await?;
    fails(case.registry().update_heartbeat(&id("a")).await, ErrorKind::NotFound)?;
    fails(case.registry().unregister(&id("a")).await, ErrorKind::NotFound)?;
    same("the outcome", case.registry().register(&stream("a")).await?.outcome, Outcome::Created)?;
    same("the list", case.listed().await?, vec!["a".to_owned()])
}

async fn unregister_removes_the_index_entry(case: &Case) -> Check {
    for name in ["a", "b"] {
        case.put(&stream(name)).await?;
    }
    case.registry().unregister(&id("a")).await?;
    same("the index", index(case).await?, vec!["b".to_owned()])
}

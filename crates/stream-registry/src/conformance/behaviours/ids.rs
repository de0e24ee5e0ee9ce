//! Stream ids.

use std::collections::BTreeSet;

use super::case::{Case, Check, ensure, id, same, stream};
use super::declare;
use crate::stream::{StreamId, StreamStatus, StreamType, generate_stream_id};

declare! {
    "ids", Long: [
        every_valid_id_works_in_every_operation,
        invalid_ids_are_rejected,
        similar_ids_belong_to_different_streams,
        generated_ids_are_well_formed_and_unique,
    ],
}

fn valid_ids() -> Vec<String> {
    let mut ids: Vec<String> = [
        "a",
        "7",
        "a b",
        "a  b",
        "a/b",
        "/",
        "//",
        "a//b/",
        "a:b",
        ":",
        "*",
        "?",
        "[a]",
        "{}",
        "{tag}",
        "{a}{b}",
        "\"",
        "'",
        "\\",
        "\\\\",
        "a\\nb",
        "%",
        "%2F",
        "%00",
        "a%20b",
        "a+b",
        "a&b=c",
        "#x",
        "a;b",
        "...",
        ".a",
        "../up",
        "a/../b",
        "active:1",
        "Active",
        "active/",
        "-",
        "--force",
        "$(x)",
        "`x`",
        "<b>",
        "streams",
        "heartbeat",
        "a/heartbeat",
        "a/status",
        "mirror:streams:a",
        "op:1",
        "end:a",
        "null",
        "📺",
        "камера 1",
        "e\u{301}",
        "é",
        "\u{200b}",
        "\u{202e}x",
        "\u{feff}x",
        "srt_20240115_143052_001",
    ]
    .map(str::to_owned)
    .into();
    ids.extend(["x".repeat(256), "é".repeat(128), "📺".repeat(64)]);
    ids
}

async fn every_valid_id_works_in_every_operation(case: &Case) -> Check {
    let names = valid_ids();
    for name in &names {
        let record = case.put(&stream(name)).await?;
        same("the id", record.id.as_str(), name)?;
    }
    let mut sorted = names.clone();
    sorted.sort();
    same("the list", case.listed().await?, sorted.clone())?;
    let paged: BTreeSet<_> = case.paged(10).await?.into_iter().collect();
    same("the pages", paged, sorted.iter().cloned().collect())?;
    for name in &names {
        case.registry().update_heartbeat(&id(name)).await?;
        case.registry().update_status(&id(name), StreamStatus::Active).await?;
        same("the id", case.get(name).await?.id.as_str(), name)?;
        let last = case.registry().unregister(&id(name)).await?;
        same("the last id", (last.id.as_str(), last.status), (name.as_str(), StreamStatus::Active))?;
    }
    same("the list", case.listed().await?, Vec::new())
}

async fn invalid_ids_are_rejected(_: &Case) -> Check {
    let long = "x".repeat(257);
    for invalid in
        ["", " ", " a", "a ", "\u{a0}a", "a\n", "a\0b", "\u{1f}op:1", "\u{7f}", "\u{85}", "active", ".", "..", &long]
    {
        ensure(invalid.parse::<StreamId>().is_err(), &format!("{invalid:?} is accepted as an id"))?;
    }
    Ok(())
}

async fn similar_ids_belong_to_different_streams(case: &Case) -> Check {
    let similar =
        [["a", "A"], ["é", "e\u{301}"], ["a/b", "a%2Fb"], ["a b", "a+b"], ["a b", "a%20b"], ["x", "x\u{200b}"]];
    for [one, other] in similar {
        case.put(&stream(one)).await?;
        case.assert_gone(other).await?;
        case.registry().unregister(&id(one)).await?;
    }
    Ok(())
}

async fn generated_ids_are_well_formed_and_unique(_: &Case) -> Check {
    let ids: BTreeSet<_> = (0..5_000).map(|_| generate_stream_id(&StreamType::Srt, "h:1")).collect();
    same("the number of different ids", ids.len(), 5_000)?;
    for generated in ids {
        let parts: Vec<_> = generated.as_str().split('_').collect();
        let digits = parts[1..].iter().all(|part| part.bytes().all(|b| b.is_ascii_digit()));
        let sizes = parts.len() == 4 && parts[1].len() == 8 && parts[2].len() == 6 && parts[3].len() >= 3;
        ensure(parts[0] == "srt" && digits && sizes, &format!("{generated} is not well-formed"))?;
    }
    Ok(())
}

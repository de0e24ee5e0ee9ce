//! The keys of a registry in a cluster, computed as docs/interop.md tells programs in other languages.

/// The hash tags of 16 shards.
pub(crate) const TAGS: [&str; 16] =
    ["53t", "574", "96a", "d1i", "he6", "hav", "1js", "1n3", "712", "75r", "3y7", "wu7", "7d8", "jc0", "3h5", "3lu"];

/// Returns the shard of a stream: the CRC-16 (XMODEM) of its id modulo 16.
pub(crate) fn shard_of(id: &str) -> usize {
    let crc = id.bytes().fold(0_u16, |crc, byte| {
        (0..8).fold(crc ^ u16::from(byte) << 8, |crc, _| (crc << 1) ^ if crc & 0x8000 == 0 { 0 } else { 0x1021 })
    });
    usize::from(crc % 16)
}

/// Returns the prefix of all keys of a shard.
pub(crate) fn prefix_of(prefix: &str, shard: usize) -> String {
    format!("{prefix}{{{}}}:", TAGS[shard])
}

/// Returns `count` stream ids of one shard.
pub(crate) fn ids_in(shard: usize, count: usize) -> Vec<String> {
    (0..).map(|number| format!("s{number}")).filter(|id| shard_of(id) == shard).take(count).collect()
}

#[test]
fn documented_tags_match_the_tags_of_the_store() {
    let page = include_str!("../../../../../docs/interop.md");
    let row = page.lines().find_map(|line| line.strip_prefix("| 16 | `")).unwrap();
    assert_eq!(row.split(['`', ' ']).take(16).collect::<Vec<_>>(), TAGS);
    let all = page.lines().find_map(|line| line.strip_prefix("| 64 | `")).unwrap();
    let all: Vec<_> = all.split('`').next().unwrap().split(' ').collect();
    for count in [1, 2, 4, 8, 16, 32] {
        let row = page.lines().find_map(|line| line.strip_prefix(&format!("| {count} | `"))).unwrap();
        let tags: Vec<_> = all.iter().step_by(64 / count).copied().collect();
        assert_eq!(row.trim_end_matches(" |"), format!("{}`", tags.join(" ")), "{count}");
    }
}

//! Merges the findings about shards, so that a fault of several shards is one finding.

use super::report::{Finding, Report};
use crate::redis::shards::Label;

/// The findings about one shard.
pub(super) struct Part<'a> {
    pub(super) label: Option<&'a Label>,
    pub(super) findings: Vec<Finding>,
}

/// Adds the findings about shards. Findings that differ only in their shard become one, whose message begins with the
/// shards.
pub(super) fn merge(report: &mut Report, parts: Vec<Part<'_>>) {
    let mut merged: Vec<(Finding, Vec<&Label>)> = Vec::new();
    for Part { label, findings } in parts {
        for finding in findings {
            let is_same = |known: &Finding| {
                (known.code, known.severity, &known.message, &known.remedy)
                    == (finding.code, finding.severity, &finding.message, &finding.remedy)
            };
            match merged.iter_mut().find(|(known, _)| is_same(known)) {
                Some((known, labels)) => {
                    if known.server != finding.server {
                        known.server = None;
                    }
                    labels.extend(label);
                }
                None => merged.push((finding, label.into_iter().collect())),
            }
        }
    }
    for (mut finding, mut labels) in merged {
        labels.sort_by_key(|label| label.number);
        if let Some(names) = names(&labels) {
            finding.message = format!("{names}: {}", finding.message);
        }
        report.push(finding);
    }
}

/// Names shards, e.g. `shard 5 of 16 ({hav})` or `shards 1, 4 of 16`. Returns `None` for an empty list.
pub(super) fn names(labels: &[&Label]) -> Option<String> {
    match labels {
        [] => None,
        [label] => Some(format!("shard {} of {} ({{{}}})", label.number, label.count, label.tag)),
        [label, ..] if label.count == labels.len() => Some(format!("all {} shards", label.count)),
        [label, ..] => {
            let numbers: Vec<_> = labels.iter().map(|label| label.number.to_string()).collect();
            Some(format!("shards {} of {}", numbers.join(", "), label.count))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redis::diagnose::report::Code;

    #[test]
    fn same_finding_of_several_shards_becomes_one_that_names_them() {
        let labels = [0, 1, 2].map(|number| Label { number, count: 4, tag: "53t" });
        let part = |label, messages: &[&str], server: &str| {
            let mut report = Report::default();
            report.about(Some(server.to_owned()));
            messages.iter().for_each(|message| report.warning(Code::Feed, *message, "repair"));
            Part { label, findings: report.into_findings() }
        };
        let merged = |parts| {
            let mut report = Report::default();
            merge(&mut report, parts);
            let findings = report.into_findings().into_iter();
            findings.map(|finding| (finding.message, finding.server)).collect::<Vec<_>>()
        };
        let found = merged(vec![
            part(Some(&labels[2]), &["bad"], "a"),
            part(Some(&labels[0]), &["bad", "worse"], "b"),
            part(Some(&labels[1]), &[], "b"),
        ]);
        let expected = [
            ("shards 0, 2 of 4: bad".to_owned(), None),
            ("shard 0 of 4 ({53t}): worse".to_owned(), Some("b".to_owned())),
        ];
        assert_eq!(found, expected);
        assert_eq!(merged(vec![part(None, &["bad"], "a")]), [("bad".to_owned(), Some("a".to_owned()))]);
        let all = [0, 1].map(|number| Label { number, count: 2, tag: "53t" });
        assert_eq!(names(&[&all[0], &all[1]]).as_deref(), Some("all 2 shards"));
    }
}

//! The text formats of metrics: that of Prometheus, version 0.0.4 ("Exposition formats" in its documentation), and
//! OpenMetrics 1.0.0.

use std::fmt::{Display, Write as _};

use axum::http::HeaderMap;
use axum::http::header::ACCEPT;
use stream_registry::metrics::{BUCKETS, HistogramSnapshot};

/// A text format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::server) enum Format {
    Prometheus,
    OpenMetrics,
}

impl Format {
    /// Selects the format that the client prefers. A client that asks for neither gets the format of Prometheus.
    pub(in crate::server) fn negotiate(headers: &HeaderMap) -> Self {
        let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let (mut prometheus, mut open_metrics) = (0.0, 0.0);
        for range in values.flat_map(|value| value.split(',')) {
            let mut parts = range.split(';').map(str::trim);
            let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
            let parameters: Vec<_> = parts.filter_map(|part| part.split_once('=')).collect();
            let parameter = |name: &str| {
                let found = parameters.iter().find(|(given, _)| given.trim().eq_ignore_ascii_case(name));
                found.map(|(_, value)| value.trim().trim_matches('"'))
            };
            let quality: f32 = parameter("q").map_or(Some(1.0), |q| q.parse().ok()).unwrap_or(0.0);
            match media_type.as_str() {
                "application/openmetrics-text" if matches!(parameter("version"), None | Some("1.0.0" | "0.0.1")) => {
                    open_metrics = quality.max(open_metrics);
                }
                "text/plain" | "text/*" | "*/*" => prometheus = quality.max(prometheus),
                _ => {}
            }
        }
        if open_metrics > 0.0 && open_metrics >= prometheus { Self::OpenMetrics } else { Self::Prometheus }
    }

    pub(in crate::server) fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// The name, kind and description of a metric. The name of a counter ends in `_total`.
pub(super) struct Family {
    name: &'static str,
    kind: Kind,
    help: &'static str,
}

impl Family {
    pub(super) const fn counter(name: &'static str, help: &'static str) -> Self {
        Self { name, kind: Kind::Counter, help }
    }

    pub(super) const fn gauge(name: &'static str, help: &'static str) -> Self {
        Self { name, kind: Kind::Gauge, help }
    }

    pub(super) const fn histogram(name: &'static str, help: &'static str) -> Self {
        Self { name, kind: Kind::Histogram, help }
    }
}

/// Names and values of labels.
pub(super) type Labels<'a> = &'a [(&'static str, &'a str)];

/// A text that is being written.
pub(in crate::server) struct Text {
    format: Format,
    text: String,
}

impl Text {
    pub(in crate::server) fn new(format: Format) -> Self {
        Self { format, text: String::with_capacity(16 * 1024) }
    }

    /// Begins a metric. The samples of the metric must follow.
    pub(super) fn begin(&mut self, family: &Family) {
        let Family { name, kind, help } = family;
        let (kind, name) = match (kind, self.format) {
            // In OpenMetrics, the name of a counter has the suffix only in its samples.
            (Kind::Counter, Format::OpenMetrics) => ("counter", name.strip_suffix("_total").unwrap_or(name)),
            (Kind::Counter, Format::Prometheus) => ("counter", *name),
            (Kind::Gauge, _) => ("gauge", *name),
            (Kind::Histogram, _) => ("histogram", *name),
        };
        self.push(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    /// Writes a whole metric with one sample.
    pub(super) fn single(&mut self, family: &Family, value: impl Display) {
        self.begin(family);
        self.sample(family, &[], value);
    }

    /// Writes a sample of a counter or a gauge.
    pub(super) fn sample(&mut self, family: &Family, labels: Labels<'_>, value: impl Display) {
        self.line(family.name, "", labels, None, value);
    }

    /// Writes the samples of a histogram.
    pub(super) fn histogram(&mut self, family: &Family, labels: Labels<'_>, histogram: &HistogramSnapshot) {
        let mut count = 0;
        let bounds = BUCKETS.iter().map(|bound| format!("{:?}", bound.as_secs_f64())).chain(["+Inf".to_owned()]);
        for (bound, in_bucket) in bounds.zip(histogram.counts) {
            count += in_bucket;
            self.line(family.name, "_bucket", labels, Some(&bound), count);
        }
        self.line(family.name, "_sum", labels, None, histogram.sum.as_secs_f64());
        self.line(family.name, "_count", labels, None, count);
    }

    fn line(&mut self, name: &str, suffix: &str, labels: Labels<'_>, bound: Option<&str>, value: impl Display) {
        self.push(format_args!("{name}{suffix}"));
        let labels = labels.iter().copied().chain(bound.map(|bound| ("le", bound)));
        let mut separator = '{';
        for (name, value) in labels {
            self.push(format_args!("{separator}{name}=\""));
            for character in value.chars() {
                match character {
                    '\\' => self.text.push_str("\\\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str("\\n"),
                    other => self.text.push(other),
                }
            }
            self.text.push('"');
            separator = ',';
        }
        if separator == ',' {
            self.text.push('}');
        }
        self.push(format_args!(" {value}\n"));
    }

    fn push(&mut self, arguments: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = self.text.write_fmt(arguments);
    }

    pub(in crate::server) fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use stream_registry::metrics::Histogram;

    use super::*;

    fn negotiated(accept: &[&str]) -> Format {
        let mut headers = HeaderMap::new();
        accept.iter().for_each(|value| _ = headers.append(ACCEPT, value.parse().unwrap()));
        Format::negotiate(&headers)
    }

    #[test]
    fn format_is_the_one_that_the_client_prefers() {
        for accept in [
            // Prometheus 2.42 and 3.
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
             text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,\
             application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.2",
            "application/openmetrics-text",
            "Application/OpenMetrics-Text; version=\"1.0.0\"; q=0.9, text/plain; q=0.8",
        ] {
            assert_eq!(negotiated(&[accept]), Format::OpenMetrics, "{accept}");
        }
        for accept in [
            "*/*",
            "text/html,application/xhtml+xml,*/*;q=0.8",
            "text/plain;version=0.0.4",
            "text/plain, application/openmetrics-text;q=0.5",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;version=2.0.0",
            "application/json",
            "",
        ] {
            assert_eq!(negotiated(&[accept]), Format::Prometheus, "{accept}");
        }
        assert_eq!(negotiated(&[]), Format::Prometheus);
        assert_eq!(negotiated(&["text/plain;q=0.5", "application/openmetrics-text"]), Format::OpenMetrics);
    }

    #[test]
    fn both_formats_escape_labels_and_accumulate_buckets() {
        const COUNTER: Family = Family::counter("a_total", "Help.");
        const SECONDS: Family = Family::histogram("b_seconds", "Help.");
        let histogram = Histogram::default();
        histogram.observe(Duration::from_micros(100));
        histogram.observe(Duration::from_secs(9));
        let write = |format| {
            let mut text = Text::new(format);
            text.begin(&COUNTER);
            text.sample(&COUNTER, &[("id", "a\\b\"c\nd"), ("é", "ü")], 3);
            text.begin(&SECONDS);
            text.histogram(&SECONDS, &[("op", "get")], &histogram.snapshot());
            text.finish()
        };
        let text = write(Format::Prometheus);
        assert!(
            text.starts_with(
                "# HELP a_total Help.\n# TYPE a_total counter\na_total{id=\"a\\\\b\\\"c\\nd\",é=\"ü\"} 3\n"
            )
        );
        assert!(text.contains("b_seconds_bucket{op=\"get\",le=\"0.00025\"} 1\n"), "{text}");
        assert!(text.contains("b_seconds_bucket{op=\"get\",le=\"5.0\"} 1\n"), "{text}");
        assert!(text.contains("b_seconds_bucket{op=\"get\",le=\"+Inf\"} 2\n"), "{text}");
        assert!(text.ends_with("b_seconds_sum{op=\"get\"} 9.0001\nb_seconds_count{op=\"get\"} 2\n"), "{text}");
        let open_metrics = write(Format::OpenMetrics);
        assert!(open_metrics.starts_with("# HELP a Help.\n# TYPE a counter\na_total{"), "{open_metrics}");
        assert!(open_metrics.ends_with("\n# EOF\n"));
    }
}

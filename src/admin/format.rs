//! The two text formats of `/metrics`: OpenMetrics 1.0, and the older format of Prometheus.
//!
//! The crate that encodes the metrics writes OpenMetrics only. Many tools read the older format only, such as
//! `promtool check metrics`. So a client gets OpenMetrics when it asks for it, as a Prometheus server does.

/// A text format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// The text format 0.0.4 of Prometheus.
    Text,
}

impl Format {
    /// Returns the format for a client with this `Accept` field.
    pub(super) fn accepted(accept: Option<&[u8]>) -> Self {
        let name = b"application/openmetrics-text";
        let asks = accept
            .is_some_and(|accept| accept.windows(name.len()).any(|part| part.eq_ignore_ascii_case(name)));
        if asks { Format::OpenMetrics } else { Format::Text }
    }

    /// The fields of the answer.
    pub(super) fn fields(self) -> &'static [u8] {
        match self {
            Format::OpenMetrics => {
                b"Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\nVary: Accept\r\n"
            }
            Format::Text => b"Content-Type: text/plain; version=0.0.4; charset=utf-8\r\nVary: Accept\r\n",
        }
    }

    /// Writes an OpenMetrics text in this format.
    pub(super) fn write(self, open_metrics: String) -> String {
        match self {
            Format::OpenMetrics => open_metrics,
            Format::Text => as_text(&open_metrics),
        }
    }
}

/// In the older format the comments of a counter and of an info have the name of the sample, with its ending. It has no
/// type for an info, no units, and no mark of the end.
fn as_text(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut lines = open_metrics.lines().peekable();
    while let Some(line) = lines.next() {
        let mut words = line.splitn(4, ' ').skip(1);
        let (keyword, name, rest) = (words.next(), words.next(), words.next());
        match (line.starts_with("# "), keyword, name, rest) {
            // The line of the type follows, and decides on the name.
            (true, Some("HELP"), Some(name), Some(help)) => {
                let kind = lines.peek().and_then(|next| next.rsplit(' ').next());
                let (ending, _) = ending(kind);
                text.push_str(&format!("# HELP {name}{ending} {help}\n"));
            }
            (true, Some("TYPE"), Some(name), Some(kind)) => {
                let (ending, kind) = ending(Some(kind));
                text.push_str(&format!("# TYPE {name}{ending} {kind}\n"));
            }
            (true, ..) => {}
            _ => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    text
}

/// Returns the ending of a sample's name and the type in the older format.
fn ending(kind: Option<&str>) -> (&'static str, &str) {
    match kind {
        Some("counter") => ("_total", "counter"),
        Some("info") => ("_info", "gauge"),
        kind => ("", kind.unwrap_or("untyped")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_gets_the_format_that_it_asks_for() {
        let prometheus =
            "application/openmetrics-text;version=1.0.0;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let cases = [
            (None, Format::Text),
            (Some("*/*"), Format::Text),
            (Some("text/plain"), Format::Text),
            (Some(prometheus), Format::OpenMetrics),
            (Some("Application/OpenMetrics-Text"), Format::OpenMetrics),
        ];
        for (accept, format) in cases {
            assert_eq!(Format::accepted(accept.map(str::as_bytes)), format, "{accept:?}");
        }
    }

    #[test]
    fn the_older_format_names_each_sample_in_its_comments() {
        let cases = [
            (
                "# HELP a Help of a\n# TYPE a counter\na_total 1\n",
                "# HELP a_total Help of a\n# TYPE a_total counter\na_total 1\n",
            ),
            ("# HELP b B\n# TYPE b gauge\nb{c=\"# d\"} 2\n", "# HELP b B\n# TYPE b gauge\nb{c=\"# d\"} 2\n"),
            (
                "# HELP p P\n# TYPE p info\np_info{v=\"1\"} 1\n",
                "# HELP p_info P\n# TYPE p_info gauge\np_info{v=\"1\"} 1\n",
            ),
            (
                "# HELP s_seconds S\n# TYPE s_seconds histogram\n# UNIT s_seconds seconds\ns_seconds_sum 1\n# EOF\n",
                "# HELP s_seconds S\n# TYPE s_seconds histogram\ns_seconds_sum 1\n",
            ),
        ];
        for (open_metrics, text) in cases {
            assert_eq!(Format::Text.write(open_metrics.into()), text);
            assert_eq!(Format::OpenMetrics.write(open_metrics.into()), open_metrics);
        }
    }
}

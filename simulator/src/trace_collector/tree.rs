//! A trace for people.
//!
//! ```text
//!      0 ms  ingress      POST /webhook  12 ms  resource=node01 reservation=5120
//!      2 ms  ingress      └─ store the delivery  6 ms
//!      9 ms  provisioner     └─ decide  1 ms
//! ```

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;

use super::span::Span;

/// Attributes that libraries add for machines.
const NOT_SHOWN: [&str; 12] = [
    "busy_ns",
    "idle_ns",
    "code.",
    "thread.",
    "target",
    "level",
    "otel.",
    "network.",
    "server.",
    "url.",
    "user_agent.",
    "client.",
];

/// The spans of one trace, sorted by their start, as an indented tree: all of them, or those that somebody chose.
pub fn tree(spans: &[Span]) -> String {
    let mut printed = String::new();
    let Some(first) = spans.first() else {
        return printed;
    };
    let known: HashSet<&str> = spans.iter().map(|span| span.span_id.as_str()).collect();
    let mut children: BTreeMap<&str, Vec<&Span>> = BTreeMap::new();
    let mut roots = Vec::new();
    for span in spans {
        // A parent that was not exported (the caller's own, or one that is still open) can't be shown.
        match span
            .parent
            .as_deref()
            .filter(|parent| known.contains(parent) && *parent != span.span_id)
        {
            Some(parent) => children.entry(parent).or_default().push(span),
            None => roots.push(span),
        }
    }
    let width = spans
        .iter()
        .map(|span| span.service.chars().count())
        .max()
        .unwrap_or(0);
    let mut left: Vec<Line<'_>> = roots
        .into_iter()
        .rev()
        .map(|span| Line {
            span,
            lead: String::new(),
            branch: Branch::Root,
        })
        .collect();
    let mut seen = HashSet::new();
    while let Some(Line { span, lead, branch }) = left.pop() {
        if !seen.insert(span.span_id.as_str()) {
            continue;
        }
        let (mark, below) = branch.marks();
        let since = span.start.duration_since(first.start).as_millis();
        let took = span.took().as_millis();
        // Writing to a String can't fail.
        let _infallible = writeln!(
            printed,
            "{since:>7} ms  {:width$}  {lead}{mark}{}  {took} ms{}",
            span.service,
            span.name,
            notes(span)
        );
        let parts = children
            .get(span.span_id.as_str())
            .map(Vec::as_slice)
            .unwrap_or_default();
        for (place, part) in parts.iter().enumerate().rev() {
            let branch = if place + 1 == parts.len() {
                Branch::Last
            } else {
                Branch::Middle
            };
            left.push(Line {
                span: part,
                lead: format!("{lead}{below}"),
                branch,
            });
        }
    }
    printed
}

/// A span that is still to be printed, and where it hangs.
struct Line<'a> {
    span: &'a Span,
    lead: String,
    branch: Branch,
}

#[derive(Clone, Copy)]
enum Branch {
    Root,
    Middle,
    Last,
}

impl Branch {
    /// What stands before the span, and what before those below it.
    fn marks(self) -> (&'static str, &'static str) {
        match self {
            Self::Root => ("", ""),
            Self::Middle => ("├─ ", "│  "),
            Self::Last => ("└─ ", "   "),
        }
    }
}

/// What an operator asks for: the error first, then what the span is about.
fn notes(span: &Span) -> String {
    let mut notes = match span.error.as_deref() {
        Some("") => "  ERROR".to_owned(),
        Some(error) => format!("  ERROR {error}"),
        None => String::new(),
    };
    let shown = |name: &&String| !NOT_SHOWN.iter().any(|prefix| name.starts_with(prefix));
    for (place, name) in span.attributes.keys().filter(shown).enumerate() {
        let gap = if place == 0 { "  " } else { " " };
        notes.push_str(gap);
        notes.push_str(name);
        notes.push('=');
        notes.push_str(span.attribute(name).unwrap_or_default());
    }
    notes
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use jiff::{Timestamp, ToSpan as _};

    use super::super::span::SpanKind;
    use super::*;

    fn span(id: &str, parent: Option<&str>, service: &str, name: &str, at: i64, took: i64) -> Span {
        let start: Timestamp = "2026-12-03T08:00:00Z".parse().unwrap();
        let start = start + at.milliseconds();
        Span {
            trace_id: "t".into(),
            span_id: id.into(),
            parent: parent.map(str::to_owned),
            service: service.into(),
            name: name.into(),
            kind: SpanKind::Internal,
            start,
            end: start + took.milliseconds(),
            error: None,
            attributes: BTreeMap::new(),
        }
    }

    #[test]
    fn spans_of_several_processes_are_one_tree() {
        let mut request = span("1", Some("not exported"), "ingress", "POST /webhook", 0, 12);
        request
            .attributes
            .insert("resource".into(), "node01".into());
        request.attributes.insert("code.lineno".into(), "12".into());
        let mut report = span("5", Some("3"), "notifier", "send", 20, 7);
        report.error = Some("HTTP 500".into());
        let spans = [
            request,
            span("2", Some("1"), "ingress", "store", 2, 6),
            span("3", Some("2"), "provisioner", "decide", 9, 1),
            span("4", Some("3"), "provisioner", "claim", 11, 5),
            report,
            span("6", Some("1"), "ingress", "answer", 30, 0),
        ];
        let expected = [
            "      0 ms  ingress      POST /webhook  12 ms  resource=node01",
            "      2 ms  ingress      ├─ store  6 ms",
            "      9 ms  provisioner  │  └─ decide  1 ms",
            "     11 ms  provisioner  │     ├─ claim  5 ms",
            "     20 ms  notifier     │     └─ send  7 ms  ERROR HTTP 500",
            "     30 ms  ingress      └─ answer  0 ms",
            "",
        ];
        assert_eq!(tree(&spans), expected.join("\n"));
    }

    #[test]
    fn spans_that_name_each_other_as_parent_do_not_hang_it() {
        let circle = [
            span("1", Some("2"), "a", "x", 0, 1),
            span("2", Some("1"), "a", "y", 1, 1),
        ];
        assert_eq!(tree(&circle), "");
        assert_eq!(
            tree(&[span("1", Some("1"), "a", "x", 0, 1)]),
            "      0 ms  a  x  1 ms\n"
        );
    }

    #[test]
    fn an_unknown_trace_is_empty() {
        assert_eq!(tree(&[]), "");
    }
}

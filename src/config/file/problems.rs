//! What is wrong in a configuration file, and how it is shown: place, line, and what was expected.
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

/// A part of the text, in bytes.
pub(super) type Span = Range<usize>;

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    span: Span,
    /// What is wrong.
    title: String,
    /// What was expected, shown below the place.
    label: String,
    /// What to do.
    help: Option<String>,
    /// Another place that the problem is about, with what to say about it.
    also: Option<(Span, &'static str)>,
    is_warning: bool,
}

impl Problem {
    pub(super) fn new(span: Span, title: impl Into<String>, label: impl Into<String>) -> Self {
        let (title, label) = (title.into(), label.into());
        Problem { span, title, label, help: None, also: None, is_warning: false }
    }

    pub(super) fn warning(span: Span, title: impl Into<String>, label: impl Into<String>) -> Self {
        Problem { is_warning: true, ..Problem::new(span, title, label) }
    }

    pub(super) fn help(self, help: impl Into<Option<String>>) -> Self {
        Problem { help: help.into(), ..self }
    }

    pub(super) fn also(self, span: Span, label: &'static str) -> Self {
        Problem { also: Some((span, label)), ..self }
    }
}

/// The problems of one file. Errors make a file unusable. Warnings do not, and are shown only without errors.
#[derive(Debug, Clone)]
pub struct Report {
    path: PathBuf,
    text: String,
    /// In the order of the file.
    problems: Vec<Problem>,
}

impl Report {
    pub(super) fn new(path: &Path, text: &str, mut problems: Vec<Problem>) -> Self {
        // A warning is often the result of an error: nobody uses a cluster whose name is wrong in a route.
        if problems.iter().any(|problem| !problem.is_warning) {
            problems.retain(|problem| !problem.is_warning);
        }
        problems.sort_by_key(|problem| (problem.span.start, problem.span.end));
        // An error of syntax may be found several times at one place.
        problems.dedup();
        Report { path: path.to_owned(), text: text.to_owned(), problems }
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The number of errors.
    pub fn errors(&self) -> usize {
        self.problems.iter().filter(|problem| !problem.is_warning).count()
    }

    /// True when there is neither an error nor a warning.
    pub fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// Returns the problems as text, each with `FILE:LINE:COLUMN` and the line of the file. With `color` the text has
    /// the colors of a terminal.
    pub fn render(&self, color: bool) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let path = self.path.to_string_lossy();
        let texts = self.problems.iter().map(|problem| renderer.render(&[self.group(&path, problem)]));
        texts.map(|text| text + "\n").collect::<Vec<_>>().join("\n")
    }

    fn group<'a>(&'a self, path: &'a str, problem: &'a Problem) -> Group<'a> {
        let primary = AnnotationKind::Primary.span(problem.span.clone()).label(&problem.label);
        let also =
            problem.also.iter().map(|(span, label)| AnnotationKind::Context.span(span.clone()).label(*label));
        let snippet = Snippet::source(&self.text).path(path).annotation(primary).annotations(also);
        let level = if problem.is_warning { Level::WARNING } else { Level::ERROR };
        let help = problem.help.iter().map(|help| Level::HELP.message(help.as_str()));
        level.primary_title(&problem.title).element(snippet).elements(help)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_shows_its_place_its_line_and_what_was_expected() {
        let text = "workers = 0\n# \u{fc}\n\"\u{f6}\" = 1\n";
        let later = text.find('\u{f6}').unwrap() - 1;
        let first = Problem::new(10..11, "invalid value", "expected a whole number from 1 to 1024");
        let later =
            Problem::new(later..later + 4, "unused", "").help("remove it".to_owned()).also(0..7, "first");
        let warning = Problem::warning(0..7, "unused", "");
        let problems = vec![warning.clone(), later, first.clone(), first];
        let report = Report::new(Path::new("a/neraca.toml"), text, problems);
        assert_eq!((report.errors(), report.is_empty()), (2, false));
        let expected = "\
error: invalid value
 --> a/neraca.toml:1:11
  |
1 | workers = 0
  |           ^ expected a whole number from 1 to 1024

error: unused
 --> a/neraca.toml:3:1
  |
1 | workers = 0
  | ------- first
2 | # \u{fc}
3 | \"\u{f6}\" = 1
  | ^^^
  |
  = help: remove it
";
        assert_eq!(report.to_string(), expected);
        let report = Report::new(Path::new("f"), text, vec![warning]);
        assert_eq!((report.errors(), report.is_empty()), (0, false));
        assert!(report.to_string().starts_with("warning: unused\n --> f:1:1\n"), "{report}");
        assert!(report.render(true).contains("\u{1b}["));
    }
}

//! The values of a file that have the shape that [`Shape`] asks for. Everything else becomes a problem. This is the only
//! file that knows the TOML parser.
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::super::value::{NEAR, likeness, nearest};
use super::problems::{Problem, Span};
use super::shape::{Key, Kind, Shape};

/// A table whose keys are known and whose values have the expected kinds.
#[derive(Debug)]
pub(super) struct Table {
    /// The name of the table in messages, such as `clusters.web`. The name of the top of the file is empty.
    pub(super) place: String,
    /// The header of the table, or the whole of an inline table.
    pub(super) span: Span,
    /// In the order of the file.
    pub(super) entries: Vec<Entry>,
    /// The keys whose values are wrong. Their problems are known, so nobody complains that these keys are missing.
    refused: Vec<String>,
}

/// A key with its value.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_span: Span,
    pub(super) value: Value,
}

/// A value with its place.
#[derive(Debug)]
pub(super) struct Value {
    pub(super) span: Span,
    pub(super) data: Data,
}

#[derive(Debug)]
pub(super) enum Data {
    Flag(bool),
    Number(u64),
    Text(String),
    List(Vec<Value>),
    Table(Table),
}

impl Table {
    fn new(place: &str, span: Span) -> Self {
        Table { place: place.to_owned(), span, entries: Vec::new(), refused: Vec::new() }
    }

    /// Returns the entry of a key.
    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// True when the file has the key, with a good or a wrong value.
    pub(super) fn mentions(&self, key: &str) -> bool {
        self.get(key).is_some() || self.refused.iter().any(|refused| refused == key)
    }

    /// Returns the text of a key with its place.
    pub(super) fn text(&self, key: &str) -> Option<(&str, &Span)> {
        let value = &self.get(key)?.value;
        value.text().map(|text| (text, &value.span))
    }

    /// Returns the number of a key.
    pub(super) fn number(&self, key: &str) -> Option<u64> {
        match self.get(key)?.value.data {
            Data::Number(number) => Some(number),
            _ => None,
        }
    }

    /// Returns the values of a key that has one value or a list of values.
    pub(super) fn values(&self, key: &str) -> &[Value] {
        match self.get(key).map(|entry| &entry.value) {
            None => &[],
            Some(Value { data: Data::List(values), .. }) => values,
            Some(value) => std::slice::from_ref(value),
        }
    }

    /// Returns the table of a key.
    pub(super) fn table(&self, key: &str) -> Option<&Table> {
        self.get(key)?.value.table()
    }
}

impl Value {
    pub(super) fn text(&self) -> Option<&str> {
        match &self.data {
            Data::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn table(&self) -> Option<&Table> {
        match &self.data {
            Data::Table(table) => Some(table),
            _ => None,
        }
    }
}

/// Reads a text. Returns None after an error of syntax, because what follows such an error means little.
pub(super) fn read(text: &str, shape: &Shape, problems: &mut Vec<Problem>) -> Option<Table> {
    let (root, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        let mut reader = Reader { text, root: shape, problems };
        return Some(reader.table(shape, root.get_ref(), 0..0, ""));
    }
    problems.extend(errors.iter().map(|error| {
        let span = error.span().unwrap_or_default();
        Problem::new(span, error.message(), "")
    }));
    None
}

struct Reader<'a> {
    text: &'a str,
    root: &'a Shape,
    problems: &'a mut Vec<Problem>,
}

impl Reader<'_> {
    /// Reads a table. `place` names the table in messages, such as `clusters.web`.
    fn table(&mut self, shape: &Shape, given: &DeTable<'_>, span: Span, place: &str) -> Table {
        let mut table = Table::new(place, span.clone());
        for (name, value) in given {
            let (key, key_span) = (name.get_ref().as_ref(), name.span());
            let Some(known) = shape.key(key) else {
                self.unknown(shape, key, key_span, place);
                continue;
            };
            match self.value(&known.kind, value, &below(place, key)) {
                Some(value) => table.entries.push(Entry { key: key.to_owned(), key_span, value }),
                None => table.refused.push(key.to_owned()),
            }
        }
        table.entries.sort_by_key(|entry| entry.key_span.start);
        for key in shape.keys.iter().filter(|key| key.is_required && !table.mentions(&key.name)) {
            self.missing(key, span.clone(), place);
        }
        table
    }

    /// Reads a value of one kind; None when the value is of no such kind.
    fn value(&mut self, kind: &Kind, given: &Spanned<DeValue<'_>>, place: &str) -> Option<Value> {
        let span = given.span();
        let data = match (kind, given.get_ref()) {
            (Kind::AnyOf(kinds), value) => {
                let fitting = kinds.iter().find(|kind| is_of_type(kind, value));
                return match fitting {
                    Some(kind) => self.value(kind, given, place),
                    None => self.wrong_type(kind, given, place),
                };
            }
            (Kind::Flag, DeValue::Boolean(flag)) => Data::Flag(*flag),
            (Kind::Number(range), DeValue::Integer(number)) => {
                let number = u64::from_str_radix(number.as_str(), number.radix()).ok();
                match number.filter(|number| range.contains(number)) {
                    Some(number) => Data::Number(number),
                    None => return self.wrong_value(kind, given, place),
                }
            }
            (Kind::Choice(names), DeValue::String(name)) => match names.iter().any(|known| known == name) {
                true => Data::Text(name.to_string()),
                false => return self.wrong_value(kind, given, place),
            },
            (Kind::Text(_) | Kind::Path, DeValue::String(text)) => Data::Text(text.to_string()),
            (Kind::List(_), DeValue::Array(items)) if items.is_empty() => {
                let title = format!("`{place}` is empty");
                self.problems.push(Problem::new(span, title, "expected at least one item"));
                return None;
            }
            (Kind::List(of), DeValue::Array(items)) => {
                Data::List(items.iter().filter_map(|item| self.value(of, item, place)).collect())
            }
            (Kind::Table(shape), DeValue::Table(table)) => {
                Data::Table(self.table(shape, table, span.clone(), place))
            }
            (Kind::Map(_, of), DeValue::Table(table)) => {
                Data::Table(self.map(of, table, span.clone(), place))
            }
            _ => return self.wrong_type(kind, given, place),
        };
        Some(Value { span, data })
    }

    /// Reads a table whose keys are names.
    fn map(&mut self, of: &Kind, given: &DeTable<'_>, span: Span, place: &str) -> Table {
        let mut table = Table::new(place, span);
        for (name, value) in given {
            let (key, key_span) = (name.get_ref().to_string(), name.span());
            match self.value(of, value, &below(place, &key)) {
                Some(value) => table.entries.push(Entry { key, key_span, value }),
                None => table.refused.push(key),
            }
        }
        table.entries.sort_by_key(|entry| entry.key_span.start);
        table
    }

    fn unknown(&mut self, shape: &Shape, key: &str, span: Span, place: &str) {
        let known: Vec<&str> = shape.keys.iter().map(|key| key.name.as_str()).collect();
        let title = match place {
            "" => format!("unknown key `{key}`"),
            place => format!("unknown key `{key}` in `{place}`"),
        };
        let here = nearest(key, known.iter().copied());
        // Of keys that are equally near, one of a table below this one is meant.
        let is_below = |of: &str| !place.is_empty() && of.starts_with(place);
        let elsewhere = self.root.all_keys().into_iter().max_by(|one, other| {
            let nearer = likeness(key, &one.0).total_cmp(&likeness(key, &other.0));
            nearer.then(is_below(&one.1).cmp(&is_below(&other.1)))
        });
        let elsewhere = elsewhere.filter(|(near, _)| {
            likeness(key, near) >= NEAR.max(here.map_or(0.0, |here| likeness(key, here) + f64::EPSILON))
        });
        let (label, help) = match (here, elsewhere) {
            (_, Some((near, of))) => {
                let of = if of.is_empty() {
                    "stands before the first table".into()
                } else {
                    format!("belongs to `{of}`")
                };
                (format!("did you mean `{near}`?"), Some(format!("`{near}` {of}")))
            }
            (Some(near), None) => (format!("did you mean `{near}`?"), None),
            (None, None) => (String::new(), Some(format!("the keys here are {}", known.join(", ")))),
        };
        self.problems.push(Problem::new(span, title, label).help(help));
    }

    fn missing(&mut self, key: &Key, span: Span, place: &str) {
        let title = match place {
            "" => format!("missing `{}`", key.name),
            place => format!("missing key `{}` in `{place}`", key.name),
        };
        let label = format!("expected `{}`: {}", key.name, key.kind.expected());
        self.problems.push(Problem::new(span, title, label));
    }

    fn wrong_type(&mut self, kind: &Kind, given: &Spanned<DeValue<'_>>, place: &str) -> Option<Value> {
        let found = match given.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        let label = format!("expected {}, found {found}", kind.expected());
        self.problems.push(Problem::new(given.span(), format!("wrong type for `{place}`"), label));
        None
    }

    fn wrong_value(&mut self, kind: &Kind, given: &Spanned<DeValue<'_>>, place: &str) -> Option<Value> {
        let mut label = format!("expected {}", kind.expected());
        if let (Kind::Choice(names), DeValue::String(text)) = (kind, given.get_ref())
            && let Some(near) = nearest(text, names.iter().map(String::as_str))
        {
            label = format!("{label}; did you mean \"{near}\"?");
        }
        let title = format!("invalid value `{}` for `{place}`", written(self.text, &given.span()));
        self.problems.push(Problem::new(given.span(), title, label));
        None
    }
}

/// True when the value is of the type that values of this kind have.
fn is_of_type(kind: &Kind, value: &DeValue<'_>) -> bool {
    match kind {
        Kind::Flag => value.is_bool(),
        Kind::Number(_) => value.is_integer(),
        Kind::Text(_) | Kind::Path | Kind::Choice(_) => value.is_str(),
        Kind::List(_) => value.is_array(),
        Kind::Table(_) | Kind::Map(..) => value.is_table(),
        Kind::AnyOf(kinds) => kinds.iter().any(|kind| is_of_type(kind, value)),
    }
}

/// Returns a value as it is written, without the quotes of a string.
fn written<'a>(text: &'a str, span: &Span) -> &'a str {
    text.get(span.clone()).unwrap_or_default().trim_matches(['"', '\''])
}

/// Returns the name of a key of a table.
pub(super) fn below(place: &str, key: &str) -> String {
    if place.is_empty() { key.to_owned() } else { format!("{place}.{key}") }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::problems::Report;
    use super::*;

    fn shape() -> Shape {
        let backend = Shape {
            about: "",
            keys: vec![Key::new("cap", Kind::AnyOf(vec![Kind::Number(1..=9), Kind::choice(&["auto"])]), "")],
        };
        let cluster = Shape {
            about: "",
            keys: vec![
                Key::new(
                    "backends",
                    Kind::list(Kind::AnyOf(vec![Kind::text("HOST:PORT"), Kind::Table(backend)])),
                    "",
                )
                .required(),
                Key::new("check", Kind::Flag, ""),
            ],
        };
        let keys = vec![
            Key::new("workers", Kind::Number(1..=1024), ""),
            Key::new("engine", Kind::choice(&["thread", "async"]), ""),
            Key::new("clusters", Kind::Map("clusters", Box::new(Kind::Table(cluster))), ""),
        ];
        Shape { about: "", keys }
    }

    #[test]
    fn a_file_becomes_values_with_their_places() {
        let text = "workers = 0x1_0\n[clusters.web]\nbackends = [\"a:1\", { cap = 2 }]\n";
        let mut problems = Vec::new();
        let table = read(text, &shape(), &mut problems).unwrap();
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(table.number("workers"), Some(16));
        let web = table.table("clusters").unwrap().table("web").unwrap();
        assert_eq!(&text[web.span.clone()], "[clusters.web]");
        let backends = web.values("backends");
        assert_eq!((backends[0].text(), &text[backends[0].span.clone()]), (Some("a:1"), "\"a:1\""));
        assert_eq!(backends[1].table().unwrap().number("cap"), Some(2));
        assert!(!web.mentions("check") && web.get("check").is_none() && web.values("check").is_empty());
    }

    #[test]
    fn everything_else_is_a_problem() {
        let good = "[clusters.web]\nbackends = [\"a:1\"]\n";
        // text, parts of the report
        let cases: [(&str, &[&str]); 14] = [
            (
                "workers = \"2\"",
                &[
                    "1:11",
                    "wrong type for `workers`",
                    "expected a whole number from 1 to 1024, found a string",
                ],
            ),
            (
                "workers = 0",
                &["1:11", "invalid value `0` for `workers`", "expected a whole number from 1 to 1024"],
            ),
            ("workers = -1", &["1:11", "invalid value `-1`"]),
            ("workers = 1.5", &["1:11", "found a number with a fraction"]),
            ("workrs = 1", &["1:1", "unknown key `workrs`", "did you mean `workers`?"]),
            (
                "engine = \"asink\"",
                &[
                    "1:10",
                    "invalid value `asink`",
                    "expected \"thread\" or \"async\"; did you mean \"async\"?",
                ],
            ),
            ("zzz = 1", &["1:1", "the keys here are workers, engine, clusters"]),
            ("check = true", &["1:1", "did you mean `check`?", "`check` belongs to `clusters.NAME`"]),
            (
                "[clusters.web]\ncheck = 1",
                &[
                    "1:1",
                    "missing key `backends` in `clusters.web`",
                    "2:9",
                    "expected true or false, found a whole number",
                ],
            ),
            ("[clusters.web]\nbackends = []", &["2:12", "`clusters.web.backends` is empty"]),
            (
                "[clusters.web]\nbackends = [1]",
                &["2:13", "expected a string (HOST:PORT) or a table, found a whole number"],
            ),
            (
                "[clusters.web]\nbackends = [{ cap = 10 }]\nworkers = 2",
                &[
                    "2:21",
                    "expected a whole number from 1 to 9",
                    "3:1",
                    "`workers` stands before the first table",
                ],
            ),
            ("clusters = 1", &["1:12", "expected a table of clusters"]),
            ("workers = \nengine = [", &["1:", "2:"]),
        ];
        for (text, parts) in cases {
            let mut problems = Vec::new();
            read(text, &shape(), &mut problems);
            let report = Report::new(Path::new("f"), text, problems).to_string();
            for part in parts {
                assert!(report.contains(part), "{text}: {part}\n{report}");
            }
        }
        let mut problems = Vec::new();
        read(good, &shape(), &mut problems);
        assert!(problems.is_empty(), "{problems:?}");
    }
}

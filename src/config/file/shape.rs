//! The shape of a configuration file as data: the tables, their keys, and the kinds of values. The reader, the JSON
//! Schema and the test of the reference all follow this data.
use std::ops::RangeInclusive;

/// A table with named keys.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    /// What the table is for.
    pub(super) about: &'static str,
    pub(super) keys: Vec<Key>,
}

/// A key of a table.
#[derive(Debug, Clone)]
pub(super) struct Key {
    pub(super) name: String,
    pub(super) kind: Kind,
    /// What the key means.
    pub(super) about: String,
    /// The value of a key that is not given, in TOML.
    pub(super) default: Option<String>,
    pub(super) is_required: bool,
    /// The identity of the argument of `neraca balance` that says the same.
    pub(super) argument: Option<String>,
}

/// The kind of a value.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    Flag,
    /// A whole number in this range.
    Number(RangeInclusive<u64>),
    /// A string of a form, such as `HOST:PORT`.
    Text(String),
    /// A path. A relative path starts at the folder of the file.
    Path,
    /// One of these strings.
    Choice(Vec<String>),
    /// At least one value of a kind.
    List(Box<Kind>),
    Table(Shape),
    /// A table whose keys are names chosen by the operator. The text says what the names are.
    Map(&'static str, Box<Kind>),
    /// Any of these kinds.
    AnyOf(Vec<Kind>),
}

impl Shape {
    /// Returns the key with this name.
    pub(super) fn key(&self, name: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// Returns all keys of the file, each with the place of its table, such as `clusters.NAME`. The place of the top of
    /// the file is empty.
    pub(super) fn all_keys(&self) -> Vec<(String, String)> {
        let mut all: Vec<_> = self.keys.iter().map(|key| (key.name.clone(), String::new())).collect();
        for key in &self.keys {
            let Some((below, suffix)) = key.kind.table() else { continue };
            let place = |of: String| match of.as_str() {
                "" => format!("{}{suffix}", key.name),
                of => format!("{}{suffix}.{of}", key.name),
            };
            all.extend(below.all_keys().into_iter().map(|(name, of)| (name, place(of))));
        }
        all
    }
}

impl Key {
    /// Makes a key that no argument of the command line says.
    pub(super) fn new(name: &str, kind: Kind, about: &str) -> Self {
        let (name, about) = (name.to_owned(), about.to_owned());
        Key { name, kind, about, default: None, is_required: false, argument: None }
    }

    pub(super) fn required(self) -> Self {
        Key { is_required: true, ..self }
    }

    pub(super) fn or_else(self, default: &str) -> Self {
        Key { default: Some(default.to_owned()), ..self }
    }
}

impl Kind {
    pub(super) fn text(form: &str) -> Self {
        Kind::Text(form.to_owned())
    }

    pub(super) fn list(of: Kind) -> Self {
        Kind::List(Box::new(of))
    }

    /// One value, or a list of values.
    pub(super) fn one_or_more(of: Kind) -> Self {
        Kind::AnyOf(vec![of.clone(), Kind::list(of)])
    }

    pub(super) fn choice(names: &[&str]) -> Self {
        Kind::Choice(names.iter().map(|&name| name.to_owned()).collect())
    }

    /// Returns the table that a value of this kind is or contains, and what its place adds to the name of the key.
    pub(super) fn table(&self) -> Option<(&Shape, &'static str)> {
        match self {
            Kind::Table(shape) => Some((shape, "")),
            Kind::List(of) => of.table(),
            Kind::Map(_, of) => of.table().map(|(shape, _)| (shape, ".NAME")),
            Kind::AnyOf(kinds) => kinds.iter().find_map(Kind::table),
            Kind::Flag | Kind::Number(_) | Kind::Text(_) | Kind::Path | Kind::Choice(_) => None,
        }
    }

    /// Returns what a value of this kind is, for the words after "expected".
    pub(super) fn expected(&self) -> String {
        match self {
            Kind::Flag => "true or false".into(),
            Kind::Number(range) => format!("a whole number from {} to {}", range.start(), range.end()),
            Kind::Text(form) if form.is_empty() => "a string".into(),
            Kind::Text(form) => format!("a string ({form})"),
            Kind::Path => "a string (a path)".into(),
            Kind::Choice(names) => {
                let names: Vec<_> = names.iter().map(|name| format!("\"{name}\"")).collect();
                one_of(&names)
            }
            Kind::List(of) => match **of {
                Kind::Table(_) => "tables".into(),
                _ => format!("a list, each item {}", of.expected()),
            },
            Kind::Table(_) => "a table".into(),
            Kind::Map(names, _) => format!("a table of {names}"),
            Kind::AnyOf(kinds) => one_of(&kinds.iter().map(Kind::expected).collect::<Vec<_>>()),
        }
    }
}

/// Joins names: `a, b or c`.
pub(super) fn one_of(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [name] => name.clone(),
        [names @ .., last] => format!("{} or {last}", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_says_what_it_expects() {
        for (kind, expected) in [
            (Kind::Flag, "true or false"),
            (Kind::Number(1..=9), "a whole number from 1 to 9"),
            (Kind::text(""), "a string"),
            (Kind::text("HOST:PORT"), "a string (HOST:PORT)"),
            (Kind::choice(&["a", "b", "c"]), "\"a\", \"b\" or \"c\""),
            (Kind::one_or_more(Kind::text("CIDR")), "a string (CIDR) or a list, each item a string (CIDR)"),
            (Kind::Map("clusters", Box::new(Kind::Flag)), "a table of clusters"),
        ] {
            assert_eq!(kind.expected(), expected);
        }
    }

    #[test]
    fn the_table_of_a_key_is_found() {
        let table = |keys| Kind::Table(Shape { about: "", keys });
        let number = |name| Key::new(name, Kind::Number(0..=1), "");
        let clusters = Kind::Map("clusters", Box::new(table(vec![number("queue")])));
        let routes = Kind::list(table(vec![Key::new("limits", table(vec![number("deep")]), "")]));
        let keys =
            vec![number("workers"), Key::new("clusters", clusters, ""), Key::new("routes", routes, "")];
        let shape = Shape { about: "", keys };
        let all = shape.all_keys();
        let place = |name: &str| all.iter().find(|(key, _)| key == name).map(|(_, place)| place.as_str());
        for (name, expected) in [
            ("workers", Some("")),
            ("queue", Some("clusters.NAME")),
            ("deep", Some("routes.limits")),
            ("x", None),
        ] {
            assert_eq!(place(name), expected, "{name}");
        }
    }
}

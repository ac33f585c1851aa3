//! The example files, the examples of the documentation, and the schema.
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use neraca::config::{check_text, schema};
use serde_json::Value;
use toml::de::{DeTable, DeValue};

use super::DESCRIPTORS;
use super::tls::Folder;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the paths and the texts of the example files.
fn examples() -> Vec<(PathBuf, String)> {
    let files = fs::read_dir(root().join("examples/config")).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

/// Returns the TOML blocks of a page of the documentation.
fn blocks(page: &str) -> Vec<(PathBuf, String)> {
    let path = root().join(page);
    let text = fs::read_to_string(&path).unwrap();
    let blocks = text.split("```toml\n").skip(1).map(|block| block.split("```").next().unwrap().to_owned());
    blocks.map(|block| (path.clone(), block)).collect()
}

#[test]
fn every_example_is_good() {
    let (files, blocks) = (examples(), [blocks("docs/configuration.md"), blocks("docs/tls.md")].concat());
    assert!(files.len() >= 4 && blocks.len() >= 4, "{} files, {} blocks", files.len(), blocks.len());
    // The examples with TLS name files of the operator.
    let folder = Folder::new("examples");
    folder.sign("tls", &["example.org", "example.net"]);
    fs::copy(folder.path("tls/clients.pem"), folder.path("tls/backends.pem")).unwrap();
    for (path, text) in files.iter().chain(&blocks) {
        let has_tls = text.lines().any(|line| line.starts_with('[') && line.ends_with(".tls]"));
        let path = if has_tls { &folder.path(path.file_name().unwrap().to_str().unwrap()) } else { path };
        let report = check_text(path, text, DESCRIPTORS);
        assert!(report.is_empty(), "{report}");
    }
}

#[test]
fn the_stored_schema_is_that_of_the_program() {
    let stored = fs::read_to_string(root().join("docs/neraca.schema.json")).unwrap();
    assert!(stored == schema(), "write it again: neraca check --schema > docs/neraca.schema.json");
}

/// The keys of all tables of one place, each with its first value in the words of JSON.
type Keys = BTreeMap<(String, String), String>;

/// Makes a file without comments before its keys and headers.
fn uncommented(text: &str) -> String {
    let is_key = |key: &str| key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    let is_header = |line: &str| line.starts_with('[') && line.ends_with(']');
    let line = |line: &str| {
        let bare = line
            .strip_prefix("# ")
            .filter(|rest| is_header(rest) || rest.split_once(" = ").is_some_and(|(key, _)| is_key(key)));
        format!("{}\n", bare.unwrap_or(line))
    };
    text.lines().map(line).collect()
}

fn keys_of_file(table: &DeTable<'_>, place: &str, keys: &mut Keys) {
    for (name, value) in table {
        let (name, value) = (name.get_ref().to_string(), value.get_ref());
        let text = match value {
            DeValue::String(text) => format!("\"{text}\""),
            DeValue::Integer(number) => number.as_str().to_owned(),
            DeValue::Boolean(flag) => flag.to_string(),
            _ => String::new(),
        };
        let below = format!("{place}/{name}");
        match value {
            DeValue::Table(table) => keys_of_file(table, &below, keys),
            DeValue::Array(items) => {
                let tables = items.iter().filter_map(|item| item.get_ref().as_table());
                tables.for_each(|table| keys_of_file(table, &below, keys));
            }
            _ => {}
        }
        keys.entry((place.to_owned(), name)).or_insert(text);
    }
}

fn keys_of_schema(schema: &Value, place: &str, keys: &mut Keys) {
    let properties = schema["properties"].as_object().into_iter().flatten();
    for (name, property) in properties {
        let default = &property["default"];
        keys.insert(
            (place.to_owned(), name.clone()),
            if default.is_null() { String::new() } else { default.to_string() },
        );
        keys_of_schema(property, &format!("{place}/{name}"), keys);
    }
    if schema["additionalProperties"].is_object() {
        keys_of_schema(&schema["additionalProperties"], &format!("{place}/web"), keys);
    }
    if schema["items"].is_object() {
        keys_of_schema(&schema["items"], place, keys);
    }
    schema["anyOf"].as_array().into_iter().flatten().for_each(|schema| keys_of_schema(schema, place, keys));
}

#[test]
fn the_reference_has_every_key_with_its_default() {
    let text = fs::read_to_string(root().join("examples/config/reference.toml")).unwrap();
    let text = uncommented(&text);
    let (mut written, mut known) = (Keys::new(), Keys::new());
    let file = DeTable::parse(&text).unwrap_or_else(|error| panic!("{error}"));
    keys_of_file(file.get_ref(), "", &mut written);
    keys_of_schema(&serde_json::from_str(&schema()).unwrap(), "", &mut known);
    assert!(known.len() > 60, "{known:?}");
    let mut faults = Vec::new();
    for (key, default) in &known {
        match written.get(key) {
            None => faults.push(format!("{key:?} is missing")),
            Some(value) if !default.is_empty() && value != default => {
                faults.push(format!("{key:?} is {value}, its default {default}"));
            }
            Some(_) => {}
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

//! The JSON Schema of configuration files, made from their shape. Editors use it for hints, completion and first checks.
use serde_json::{Map, Value, json};

use super::shape::{Key, Kind, Shape};

/// Returns the schema of a file (JSON Schema, draft 2020-12).
pub(super) fn schema(shape: &Shape) -> Value {
    let mut schema = table(shape);
    schema.insert("$schema".into(), json!("https://json-schema.org/draft/2020-12/schema"));
    schema.insert("title".into(), json!(shape.about));
    Value::Object(schema)
}

fn table(shape: &Shape) -> Map<String, Value> {
    let properties: Map<_, _> = shape.keys.iter().map(|key| (key.name.clone(), property(key))).collect();
    let required = shape.keys.iter().filter(|key| key.is_required).map(|key| &key.name);
    let mut schema = Map::new();
    schema.insert("type".into(), json!("object"));
    schema.insert("properties".into(), Value::Object(properties));
    schema.insert("required".into(), required.map(|name| json!(name)).collect());
    schema.insert("additionalProperties".into(), json!(false));
    schema
}

fn property(key: &Key) -> Value {
    let mut schema = value(&key.kind);
    schema.insert("description".into(), json!(key.about));
    if let Some(default) = &key.default {
        // A number, a boolean and a string without escapes are written alike in TOML and in JSON.
        schema.insert("default".into(), serde_json::from_str(default).unwrap_or_else(|_| json!(default)));
    }
    Value::Object(schema)
}

fn value(kind: &Kind) -> Map<String, Value> {
    let schema = match kind {
        Kind::Flag => json!({ "type": "boolean" }),
        Kind::Number(range) => json!({ "type": "integer", "minimum": range.start(), "maximum": range.end() }),
        Kind::Text(_) | Kind::Path => json!({ "type": "string" }),
        Kind::Choice(names) => json!({ "enum": names }),
        Kind::List(of) => json!({ "type": "array", "items": value(of), "minItems": 1 }),
        Kind::Table(shape) => return table(shape),
        Kind::Map(_, of) => json!({ "type": "object", "additionalProperties": value(of) }),
        Kind::AnyOf(kinds) => json!({ "anyOf": kinds.iter().map(value).collect::<Vec<_>>() }),
    };
    match schema {
        Value::Object(schema) => schema,
        _ => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_becomes_a_schema() {
        let keys = vec![
            Key::new("name", Kind::text("NAME"), "A name.").required(),
            Key::new("size", Kind::Number(1..=9), "A size.").or_else("3"),
            Key::new("mode", Kind::choice(&["a", "b"]), "A mode.").or_else("\"a\""),
            Key::new("all", Kind::one_or_more(Kind::Flag), "All."),
        ];
        let expected = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": "A thing",
            "type": "object",
            "additionalProperties": false,
            "required": ["name"],
            "properties": {
                "name": { "type": "string", "description": "A name." },
                "size": { "type": "integer", "minimum": 1, "maximum": 9, "default": 3, "description": "A size." },
                "mode": { "enum": ["a", "b"], "default": "a", "description": "A mode." },
                "all": {
                    "anyOf": [{ "type": "boolean" }, { "type": "array", "items": { "type": "boolean" }, "minItems": 1 }],
                    "description": "All.",
                },
            },
        });
        assert_eq!(schema(&Shape { about: "A thing", keys }), expected);
    }
}

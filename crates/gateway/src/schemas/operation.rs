//! An OpenAPI document, operation by operation.

use schemars::JsonSchema;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

/// Gathers operations.
pub(super) struct Document {
    generator: SchemaGenerator,
    paths: Map<String, Value>,
    error: Value,
}

/// A body or answer.
pub(super) enum Body {
    /// Nothing.
    None,
    /// JSON of this schema.
    Json(Value),
    /// Octets.
    Octets,
    /// Text.
    Text,
}

impl Document {
    /// `E` is what errors look like.
    pub(super) fn new<E: JsonSchema>() -> Self {
        let mut settings = SchemaSettings::draft2020_12();
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
        let mut generator = settings.into_generator();
        let error = generator.subschema_for::<E>().to_value();
        Self {
            generator,
            paths: Map::new(),
            error,
        }
    }

    /// JSON of a type.
    pub(super) fn json<T: JsonSchema>(&mut self) -> Body {
        Body::Json(self.generator.subschema_for::<T>().to_value())
    }

    /// Adds an operation. Parameters in braces in the path become path parameters; `query` are optional integers.
    pub(super) fn add(
        &mut self,
        (method, path, status): (&str, &str, u16),
        summary: &str,
        open: bool,
        query: &[(&str, &str)],
        (request, answer): (Body, Body),
    ) {
        let mut parameters: Vec<Value> = path
            .split('/')
            .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
            .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
            .collect();
        parameters.extend(query.iter().map(|(name, text)| {
            json!({"name": name, "in": "query", "description": text, "schema": {"type": "integer", "minimum": 0}})
        }));
        let mut good = json!({"description": "Done."});
        if let Some(content) = content(answer) {
            put(&mut good, "content", content);
        }
        let error =
            json!({"description": "Refused.", "content": {"application/json": {"schema": self.error}}});
        let mut operation =
            json!({"summary": summary, "responses": {status.to_string(): good, "default": error}});
        if !parameters.is_empty() {
            put(&mut operation, "parameters", Value::Array(parameters));
        }
        if let Some(content) = content(request) {
            put(
                &mut operation,
                "requestBody",
                json!({"required": true, "content": content}),
            );
        }
        if open {
            put(&mut operation, "security", json!([]));
        }
        if let Some(item) = self
            .paths
            .entry(path.to_owned())
            .or_insert_with(|| json!({}))
            .as_object_mut()
        {
            item.insert(method.to_owned(), operation);
        }
    }

    /// The document.
    pub(super) fn finish(mut self, title: &str, description: &str) -> Value {
        json!({
            "openapi": "3.1.0",
            "info": {"title": title, "description": description, "version": env!("CARGO_PKG_VERSION")},
            "security": [{"bearer": []}],
            "paths": self.paths,
            "components": {
                "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
                "schemas": self.generator.take_definitions(true),
            },
        })
    }
}

fn content(body: Body) -> Option<Value> {
    match body {
        Body::None => None,
        Body::Json(schema) => Some(json!({"application/json": {"schema": schema}})),
        Body::Octets => Some(json!({"application/octet-stream": {}})),
        Body::Text => Some(json!({"text/plain": {}})),
    }
}

fn put(target: &mut Value, key: &str, value: Value) {
    if let Some(object) = target.as_object_mut() {
        object.insert(key.to_owned(), value);
    }
}

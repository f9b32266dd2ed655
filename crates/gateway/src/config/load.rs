//! From text and environment to [`Config`]: unknown keys refused by the schema, then the values.

use super::Config;
use crate::failure::{Code, Failure};
use serde::Deserialize as _;
use serde_json::Value as Json;
use std::borrow::Cow;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Prefix of variables that override keys: `CAUSEWAY__SECTION__KEY`.
const PREFIX: &str = "CAUSEWAY__";

/// Spans from here on stand for environment variables: `usize::MAX - index`.
const ENV_SPANS: usize = usize::MAX / 2;

/// The variables that override keys, passed in so that tests need no process environment.
#[derive(Clone, Debug, Default)]
pub struct Environment(Vec<(String, String)>);

impl Environment {
    /// Those of this process.
    pub fn process() -> Self {
        std::env::vars_os()
            .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
            .collect()
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(all: I) -> Self {
        let mut ours: Vec<_> = all
            .into_iter()
            .filter(|(name, _)| name.starts_with(PREFIX))
            .collect();
        ours.sort();
        Self(ours)
    }
}

/// The JSON Schema of the configuration file.
pub fn schema() -> schemars::Schema {
    schemars::generate::SchemaSettings::draft2020_12()
        .with(|s| s.inline_subschemas = true)
        .into_generator()
        .into_root_schema_for::<Config>()
}

/// Reads and validates the configuration at `path`.
pub fn load(path: &Path, environment: &Environment) -> Result<Config, Failure> {
    let text = std::fs::read_to_string(path).map_err(|e| {
        Failure::new(
            Code::ConfigMissing,
            format!("the configuration {} can't be read", path.display()),
            "make one with `causeway init`, or name it with --config or CAUSEWAY_CONFIG",
        )
        .with_source(e)
    })?;
    let base = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .map_or_else(|| PathBuf::from("."), Path::to_owned);
    let mut config = parse(&text, &path.display().to_string(), base, environment)?;
    config.file = Some(path.to_owned());
    let problems = config.problems();
    match problems.first() {
        None => Ok(config),
        Some(first) => Err(Failure::new(
            Code::ConfigValue,
            problems
                .iter()
                .map(|p| format!("{}: {}", p.key, p.cause))
                .collect::<Vec<_>>()
                .join("; "),
            first.remedy.clone(),
        )),
    }
}

/// Reads a configuration from text; `name` stands for it in errors. Values are typed, but not yet checked against
/// each other ([`Config::problems`]).
pub fn parse(text: &str, name: &str, base: PathBuf, environment: &Environment) -> Result<Config, Failure> {
    let source = Source {
        text,
        name,
        environment,
    };
    let mut root = DeTable::parse(text).map_err(|e| source.syntax(&e))?;
    let schema = schema().to_value();
    check_keys(root.get_ref(), &schema, "", &source)?;
    for (index, (variable, value)) in environment.0.iter().enumerate() {
        set(
            root.get_mut(),
            variable,
            value,
            usize::MAX - index,
            &schema,
            &source,
        )?;
    }
    let deserializer = toml::Deserializer::from(root);
    let mut config = Config::deserialize(deserializer).map_err(|e| source.syntax(&e))?;
    config.base = base;
    Ok(config)
}

struct Source<'a> {
    text: &'a str,
    name: &'a str,
    environment: &'a Environment,
}

impl Source<'_> {
    fn place(&self, start: usize) -> String {
        if start >= ENV_SPANS {
            let variable = self.environment.0.get(usize::MAX - start);
            return variable.map_or_else(|| "environment".to_owned(), |(name, _)| name.clone());
        }
        let before = self.text.get(..start).unwrap_or(self.text);
        let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
        format!("{}:{line}", self.name)
    }

    fn syntax(&self, error: &toml::de::Error) -> Failure {
        let place = error
            .span()
            .map_or_else(|| self.name.to_owned(), |span| self.place(span.start));
        Failure::new(
            Code::ConfigSyntax,
            format!("{place}: {}", error.message()),
            "correct the value; docs/causeway.example.toml shows every key with its meaning",
        )
    }

    fn unknown(&self, start: usize, section: &str, key: &str, known: &[&str]) -> Failure {
        let wanted = key.to_ascii_lowercase();
        let near = known
            .iter()
            .map(|k| (strsim::damerau_levenshtein(&wanted, k), *k))
            .filter(|(distance, k)| *distance <= 1 + k.len().max(wanted.len()) / 3)
            .min();
        let section = if section.is_empty() {
            "the top level".to_owned()
        } else {
            format!("[{section}]")
        };
        Failure::new(
            Code::ConfigUnknownKey,
            format!("{}: {section} has no key `{key}`", self.place(start)),
            match near {
                Some((_, near)) => format!("did you mean `{near}`?"),
                None => format!("remove it; known here: {}", known.join(", ")),
            },
        )
    }
}

/// The schema of a table, through `Option`.
fn object(schema: &Json) -> &Json {
    let is_object = |s: &Json| {
        s.get("properties").is_some() || s.get("additionalProperties").is_some_and(Json::is_object)
    };
    if is_object(schema) {
        return schema;
    }
    let any = schema.get("anyOf").and_then(Json::as_array);
    any.and_then(|all| all.iter().find(|s| is_object(s)))
        .unwrap_or(schema)
}

/// What the schema says about a key of a table.
fn member<'s>(schema: &'s Json, key: &str) -> Option<&'s Json> {
    let schema = object(schema);
    match schema.get("properties") {
        Some(properties) => properties.get(key),
        None => schema.get("additionalProperties").filter(|s| s.is_object()),
    }
}

fn known(schema: &Json) -> Vec<&str> {
    let properties = object(schema).get("properties").and_then(Json::as_object);
    properties
        .map(|p| p.keys().map(String::as_str).collect())
        .unwrap_or_default()
}

fn env_only(schema: &Json) -> bool {
    schema.get("x-env-only").and_then(Json::as_bool) == Some(true)
}

fn check_keys(table: &DeTable<'_>, schema: &Json, section: &str, source: &Source<'_>) -> Result<(), Failure> {
    for (key, value) in table {
        let name: &str = key.get_ref();
        let start = key.span().start;
        let Some(inner) = member(schema, name) else {
            return Err(source.unknown(start, section, name, &known(schema)));
        };
        if env_only(inner) {
            return Err(Failure::new(
                Code::ConfigSecret,
                format!(
                    "{}: `{name}` is a secret and must not stand in the configuration",
                    source.place(start)
                ),
                format!(
                    "put it into a file and name that as `{name}_file`, or into the environment as {PREFIX}{}__{}",
                    section.to_ascii_uppercase(),
                    name.to_ascii_uppercase()
                ),
            ));
        }
        if let DeValue::Table(table) = value.get_ref() {
            let path = if section.is_empty() {
                name.to_owned()
            } else {
                format!("{section}.{name}")
            };
            check_keys(table, inner, &path, source)?;
        }
    }
    Ok(())
}

/// Puts the value of an environment variable where its name says.
fn set<'t>(
    root: &mut DeTable<'t>,
    variable: &str,
    value: &'t str,
    span: usize,
    schema: &Json,
    source: &Source<'_>,
) -> Result<(), Failure> {
    let path: Vec<String> = variable
        .trim_start_matches(PREFIX)
        .split("__")
        .map(str::to_ascii_lowercase)
        .collect();
    let mut schema = schema;
    let mut section = String::new();
    for key in &path {
        schema = member(schema, key).ok_or_else(|| source.unknown(span, &section, key, &known(schema)))?;
        if !section.is_empty() {
            section.push('.');
        }
        section.push_str(key);
    }
    let Some((last, sections)) = path.split_last() else {
        return Ok(());
    };
    let mut table = root;
    for key in sections {
        let entry = table
            .entry(Spanned::new(span..span, Cow::Owned(key.clone())))
            .or_insert_with(|| Spanned::new(span..span, DeValue::Table(DeTable::new())));
        let DeValue::Table(inner) = entry.get_mut() else {
            return Err(Failure::new(
                Code::ConfigSyntax,
                format!("{variable}: `{key}` is no section in {}", source.name),
                "correct the configuration file",
            ));
        };
        table = inner;
    }
    let value = typed(value, schema).ok_or_else(|| {
        Failure::new(
            Code::ConfigSyntax,
            format!("{variable}: the value is not of the type that `{section}` has"),
            "texts are taken as they are; numbers, booleans and lists are written as in TOML",
        )
    })?;
    let key = Spanned::new(span..span, Cow::Owned(last.clone()));
    // Replaced by removal: the key's own span then names the variable, too.
    table.remove(&key);
    table.insert(key, Spanned::new(span..span, value));
    Ok(())
}

/// A variable's text as the schema wants it: texts literally, everything else as TOML.
fn typed<'t>(text: &'t str, schema: &Json) -> Option<DeValue<'t>> {
    let is = |name: &str| match schema.get("type") {
        Some(Json::String(t)) => t == name,
        Some(Json::Array(all)) => all.iter().any(|t| t == name),
        _ => name == "string",
    };
    if is("string") || schema.get("enum").is_some() || schema.get("oneOf").is_some() {
        return Some(DeValue::String(Cow::Borrowed(text)));
    }
    DeValue::parse(text).ok().map(Spanned::into_inner)
}

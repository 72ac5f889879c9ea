//! `load::<T>()`: defaults, then file, then environment, then validation by the caller's type.

use std::path::Path;

use serde::de::DeserializeOwned;

/// Why settings could not be read.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file is there but cannot be read.
    #[error("cannot read the settings file {path}: {source}")]
    Read {
        /// Which file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The file or a variable does not fit the documented settings.
    #[error("settings are not valid: {0}")]
    Invalid(String),
}

/// Reads the table `role` of a TOML file (if given), lets variables named `ANTEROOM_<FIELD>` (or `ANTEROOM_<ROLE>_<FIELD>`, which wins)
/// override its top-level fields, and deserializes the result. Values parse as TOML where they can and are strings otherwise.
///
/// # Errors
/// When the file cannot be read or a value does not fit its field.
pub fn load<T: DeserializeOwned>(
    role: &str,
    fields: &[&str],
    file: Option<&Path>,
    env: impl Fn(&str) -> Option<String>,
) -> Result<T, SettingsError> {
    let mut table = match file {
        None => toml::Table::new(),
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|source| SettingsError::Read { path: path.display().to_string(), source })?;
            let mut whole: toml::Table =
                text.parse().map_err(|e: toml::de::Error| SettingsError::Invalid(e.to_string()))?;
            match whole.remove(role) {
                Some(toml::Value::Table(table)) => table,
                None => toml::Table::new(),
                Some(_) => return Err(SettingsError::Invalid(format!("`{role}` must be a table"))),
            }
        }
    };
    for field in fields {
        let name = field.to_uppercase();
        let value =
            env(&format!("ANTEROOM_{}_{name}", role.to_uppercase())).or_else(|| env(&format!("ANTEROOM_{name}")));
        if let Some(text) = value {
            table.insert((*field).to_owned(), scalar(&text));
        }
    }
    toml::Value::Table(table).try_into().map_err(|e: toml::de::Error| SettingsError::Invalid(e.to_string()))
}

/// Reads a process variable; the one place that does.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "the one door to the environment")]
pub fn env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn scalar(text: &str) -> toml::Value {
    // Only numbers and booleans are taken as such: an address or a duration is a string in the documented structs.
    if let Ok(number) = text.parse::<i64>() {
        return toml::Value::Integer(number);
    }
    match text {
        "true" => toml::Value::Boolean(true),
        "false" => toml::Value::Boolean(false),
        other => toml::Value::String(other.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields, default)]
    struct Demo {
        port: u16,
        name: String,
    }

    impl Default for Demo {
        fn default() -> Self {
            Self { port: 1, name: "a".into() }
        }
    }

    #[test]
    fn environment_overrides_defaults_and_the_role_wins() {
        let env = |name: &str| match name {
            "ANTEROOM_PORT" => Some("7".to_owned()),
            "ANTEROOM_NAME" => Some("b".to_owned()),
            "ANTEROOM_DEMO_NAME" => Some("c".to_owned()),
            _ => None,
        };
        let demo: Demo = load("demo", &["port", "name"], None, env).unwrap();
        assert_eq!(demo, Demo { port: 7, name: "c".into() });
    }

    #[test]
    fn a_value_that_does_not_fit_is_refused() {
        let env = |name: &str| (name == "ANTEROOM_PORT").then(|| "seventy".to_owned());
        assert!(matches!(load::<Demo>("demo", &["port"], None, env), Err(SettingsError::Invalid(_))));
    }
}

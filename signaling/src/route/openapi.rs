//! The OpenAPI 3.1 document, made from the table of routes: what is declared there is what it says.

use std::collections::BTreeSet;

use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};

use crate::problem::Code;
use crate::route::{Access, Answer, Content, Endpoint};

/// Where schemas with a name of their own are.
const DEFINITIONS: &str = "/components/schemas";

/// The document of these routes, reached at `server`.
#[must_use]
pub fn document(endpoints: &[Endpoint], server: &str) -> Value {
    // What is read and what is written may differ in shape: each has its own generator.
    let settings = |settings: SchemaSettings| {
        settings.with(|settings| {
            settings.definitions_path = DEFINITIONS.into();
            settings.meta_schema = None;
        })
    };
    let mut taken = SchemaGenerator::new(settings(SchemaSettings::draft2020_12().for_deserialize()));
    let mut given = SchemaGenerator::new(settings(SchemaSettings::draft2020_12().for_serialize()));
    let mut paths = Map::new();
    for endpoint in endpoints {
        let operation = describe(endpoint, &mut taken, &mut given);
        let path = paths.entry(endpoint.path).or_insert_with(|| json!({}));
        if let Value::Object(path) = path {
            path.insert(endpoint.method.as_str().to_lowercase(), operation);
        }
    }
    let mut schemas = taken.take_definitions(false);
    for (name, schema) in given.take_definitions(false) {
        schemas.insert(name, schema);
    }
    schemas.insert("Problem".to_owned(), problem());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Anteroom",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Self-hosted video visits for health care",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": server}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "staffCookie": {"type": "apiKey", "in": "cookie", "name": crate::auth::extract::STAFF_COOKIE},
                "sessionCookie": {"type": "apiKey", "in": "cookie", "name": crate::auth::extract::SESSION_COOKIE},
            },
        },
    })
}

fn describe(endpoint: &Endpoint, taken: &mut SchemaGenerator, given: &mut SchemaGenerator) -> Value {
    let mut operation = json!({
        "operationId": operation_id(endpoint),
        "summary": endpoint.summary,
        "tags": [tag(endpoint.path)],
        "responses": responses(endpoint, given),
        "security": security(endpoint.access),
    });
    let Value::Object(members) = &mut operation else { return operation };
    let parameters = parameters(endpoint, taken);
    if !parameters.is_empty() {
        members.insert("parameters".to_owned(), parameters.into());
    }
    if let Some(takes) = endpoint.takes {
        let schema = (takes.body)(taken);
        let body =
            json!({"required": !takes.is_optional, "content": {"application/json": {"schema": schema.to_value()}}});
        members.insert("requestBody".to_owned(), body);
    }
    match endpoint.access {
        Access::Needs(permission) => {
            members.insert("x-permission".to_owned(), format!("{permission:?}").into());
        }
        Access::Signed => {
            members.insert("description".to_owned(), "The request proves itself by a signature.".into());
        }
        Access::Public | Access::Caller | Access::Staff => {}
    }
    operation
}

fn parameters(endpoint: &Endpoint, taken: &mut SchemaGenerator) -> Vec<Value> {
    let mut parameters: Vec<Value> = names(endpoint.path)
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string", "minLength": 1}}))
        .collect();
    if let Some(query) = endpoint.query {
        let schema = query(taken).to_value();
        let required: BTreeSet<&str> =
            schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
            let is_required = required.contains(name.as_str());
            parameters.push(json!({"name": name, "in": "query", "required": is_required, "schema": schema}));
        }
    }
    for (name, meaning) in &endpoint.headers {
        parameters
            .push(json!({"name": name, "in": "header", "required": false, "description": meaning, "schema": {"type": "string"}}));
    }
    parameters
}

/// The parameters of a path: `{id}`, and `{*rest}` for all that follows.
fn names(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|part| Some(part.strip_prefix('{')?.strip_suffix('}')?.trim_start_matches('*')))
}

fn responses(endpoint: &Endpoint, given: &mut SchemaGenerator) -> Value {
    let mut responses = Map::new();
    for Answer { status, body } in &endpoint.answers {
        // One status may be answered in several formats.
        let response = responses.entry(status.to_string()).or_insert_with(|| json!({"description": "Done"}));
        match body {
            Content::Empty => {}
            Content::Json(describe) => {
                response["content"]["application/json"] = json!({"schema": describe(given).to_value()});
            }
            Content::Other(media_type) => response["content"][*media_type] = json!({}),
        }
    }
    let mut codes = endpoint.refuses.clone();
    codes.extend(usual(endpoint));
    let mut by_status: std::collections::BTreeMap<u16, BTreeSet<&str>> = std::collections::BTreeMap::new();
    for code in codes {
        by_status.entry(code.status().as_u16()).or_default().insert(code.as_str());
    }
    for (status, codes) in by_status {
        let codes: Vec<&str> = codes.into_iter().collect();
        let content = json!({"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}});
        responses.entry(status.to_string()).or_insert(json!({"description": codes.join(", "), "content": content}));
    }
    responses.into()
}

/// What every route of its kind may refuse.
fn usual(endpoint: &Endpoint) -> Vec<Code> {
    let mut codes = vec![Code::Malformed, Code::TimedOut, Code::RateLimited, Code::Unavailable];
    if endpoint.access != Access::Public && endpoint.access != Access::Signed {
        codes.extend([Code::Unauthenticated, Code::Forbidden]);
    }
    if endpoint.takes.is_some() {
        codes.extend([Code::TooLarge, Code::UnsupportedMediaType, Code::Invalid]);
    }
    if endpoint.query.is_some() {
        codes.push(Code::Invalid);
    }
    if endpoint.method != axum::http::Method::GET {
        codes.push(Code::CrossOrigin);
    }
    if names(endpoint.path).next().is_some() {
        codes.push(Code::NotFound);
    }
    codes
}

fn security(access: Access) -> Value {
    match access {
        Access::Public | Access::Signed => json!([]),
        Access::Staff => json!([{"bearer": []}, {"staffCookie": []}]),
        Access::Caller | Access::Needs(_) => json!([{"bearer": []}, {"staffCookie": []}, {"sessionCookie": []}]),
    }
}

fn operation_id(endpoint: &Endpoint) -> String {
    let words = endpoint.path.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.fold(endpoint.method.as_str().to_lowercase(), |id, word| id + "_" + word)
}

/// Groups routes by the first words of their path that say anything.
fn tag(path: &str) -> &'static str {
    const TAGS: &[(&str, &str)] = &[
        ("/api/v1/telehealth", "Visits"),
        ("/api/visits", "Visits, first face"),
        ("/api/token", "Links"),
        ("/api/", "Other"),
        ("/auth/", "Signing in"),
        ("/dev/", "Development"),
        ("/webhooks/", "Webhooks"),
        ("/.well-known/", "Operations"),
        ("/healthz", "Operations"),
        ("/readyz", "Operations"),
        ("/openapi.json", "Operations"),
    ];
    TAGS.iter().find(|(prefix, _)| path.starts_with(prefix)).map_or("Pages", |(_, tag)| tag)
}

/// RFC 9457, with our members.
fn problem() -> Value {
    let codes: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    json!({
        "type": "object",
        "required": ["type", "title", "status", "code", "detail"],
        "properties": {
            "type": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "integer"},
            "code": {"type": "string", "enum": codes},
            "detail": {"type": "string", "description": "Fit for the person"},
            "requestId": {"type": "string", "description": "Under which the log holds the cause"},
        },
    })
}

use serde_json::json;

use super::*;

fn claims(value: Value) -> Claims {
    let Value::Object(claims) = value else { panic!("an object") };
    claims
}

fn config() -> IdentityConfig {
    IdentityConfig {
        issuer: Some("https://login.example.org".to_owned()),
        organization: Some(OrgId::random()),
        ..IdentityConfig::default()
    }
}

#[test]
fn roles_come_from_a_named_claim_and_mean_what_the_map_says() {
    let plain = config();
    let of = |config: &IdentityConfig, value: Value| person(config, &claims(value)).map(|person| person.role);
    assert_eq!(of(&plain, json!({"sub": "a", "roles": ["x", "scheduler"]})), Ok(StaffRole::Scheduler));
    assert_eq!(of(&plain, json!({"sub": "a", "roles": "auditor"})), Ok(StaffRole::Auditor));
    assert_eq!(of(&plain, json!({"sub": "a", "roles": ["admin", "clinician"]})), Ok(StaffRole::Clinician));
    for bad in [json!({"sub": "a"}), json!({"sub": "a", "roles": []}), json!({"sub": "a", "roles": {"admin": true}})] {
        assert_eq!(of(&plain, bad), Err(Unknown::Role));
    }
    let mapped = IdentityConfig {
        roles_claim: "realm_access.roles".to_owned(),
        roles: [("Anteroom Doctors".to_owned(), StaffRole::Clinician)].into(),
        ..config()
    };
    assert_eq!(
        of(&mapped, json!({"sub": "a", "realm_access": {"roles": ["Anteroom Doctors"]}})),
        Ok(StaffRole::Clinician)
    );
    // With a map our own names mean nothing.
    assert_eq!(of(&mapped, json!({"sub": "a", "realm_access": {"roles": ["admin"]}})), Err(Unknown::Role));
    let url = IdentityConfig { roles_claim: "https://example.org/roles".to_owned(), ..config() };
    assert_eq!(of(&url, json!({"sub": "a", "https://example.org/roles": ["patient"]})), Ok(StaffRole::Patient));
}

#[test]
fn an_organisation_is_fixed_or_comes_from_a_claim() {
    let (north, other) = (OrgId::random(), OrgId::random());
    let of = |config: &IdentityConfig, org: &str| {
        person(config, &claims(json!({"sub": "a", "roles": "admin", "org": org}))).map(|person| person.org)
    };
    let fixed = IdentityConfig { organization: Some(north), ..config() };
    assert_eq!(of(&fixed, &other.to_string()), Ok(north));
    let claimed = IdentityConfig { organization: None, organization_claim: Some("org".to_owned()), ..config() };
    assert_eq!(of(&claimed, &other.to_string()), Ok(other));
    assert_eq!(of(&claimed, "north"), Err(Unknown::Organization));
    let mapped = IdentityConfig { organizations: [("north".to_owned(), north)].into(), ..claimed };
    assert_eq!(of(&mapped, "north"), Ok(north));
    assert_eq!(of(&mapped, &other.to_string()), Err(Unknown::Organization));
}

#[test]
fn a_second_factor_is_read_from_amr_or_acr() {
    let config = IdentityConfig { mfa_acr: vec!["gold".to_owned()], ..config() };
    let of = |more: Value| {
        let mut all = claims(json!({"sub": "a", "roles": "admin"}));
        all.extend(claims(more));
        person(&config, &all).unwrap().has_mfa
    };
    assert!(of(json!({"amr": ["pwd", "mfa"]})));
    assert!(of(json!({"acr": "gold"})));
    for none in
        [json!({}), json!({"amr": ["pwd"]}), json!({"amr": "mfa"}), json!({"acr": "silver"}), json!({"mfa": true})]
    {
        assert!(!of(none.clone()), "{none}");
    }
}

#[test]
fn ids_are_bounded() {
    for sub in [json!(""), json!("x".repeat(201)), json!(7), json!(null)] {
        assert_eq!(person(&config(), &claims(json!({"sub": sub, "roles": "admin"}))).unwrap_err(), Unknown::Subject);
    }
}

#[test]
fn settings_that_cannot_be_meant_are_refused() {
    let refused = |config: IdentityConfig| config.validate().is_err();
    assert!(!refused(config()));
    assert!(!refused(IdentityConfig::default()));
    assert!(refused(IdentityConfig { issuer: Some("http://login.example.org".to_owned()), ..config() }));
    assert!(!refused(IdentityConfig { issuer: Some("http://127.0.0.1:9/x".to_owned()), ..config() }));
    assert!(refused(IdentityConfig { algorithms: vec!["HS256".to_owned()], ..config() }));
    assert!(refused(IdentityConfig { algorithms: vec!["none".to_owned()], ..config() }));
    assert!(refused(IdentityConfig { algorithms: Vec::new(), ..config() }));
    assert!(refused(IdentityConfig { audience: Some("anteroom".to_owned()), ..config() }));
    assert!(refused(IdentityConfig { organization: None, ..config() }));
    assert!(refused(IdentityConfig { organization_claim: Some("org".to_owned()), ..config() }));
    let env = |name: &str| (name == "ANTEROOM_IDENTITY_ISSUER").then(|| "http://evil.example.org".to_owned());
    assert!(IdentityConfig::load(None, env).is_err());
}

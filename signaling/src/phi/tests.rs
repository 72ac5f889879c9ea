//! The seal by itself, without a database.

use super::*;

fn place(field: Field) -> Place {
    Place { org: OrgId::random(), field, row: Uuid::new_v4() }
}

#[test]
fn a_value_opens_in_its_own_place_alone() {
    let (key, id) = (DataKey::generate().unwrap(), Uuid::new_v4());
    let here = place(Field::ChiefComplaint);
    for text in ["", "cannot sleep", "böse Träume \u{1f634}"] {
        let sealed = seal_with(&key, id, &here, text).unwrap();
        assert_eq!(sealed.len(), text.len() + OVERHEAD);
        assert_eq!(key_of(&sealed), Some(id));
        assert_eq!(open_with(&key, &here, &sealed).unwrap().reveal(), text);
        assert_ne!(seal_with(&key, id, &here, text).unwrap(), sealed, "a nonce of its own each time");
        for elsewhere in [
            Place { org: OrgId::random(), ..here },
            Place { field: Field::ClinicalNotes, ..here },
            Place { row: Uuid::new_v4(), ..here },
        ] {
            assert!(open_with(&key, &elsewhere, &sealed).is_err());
        }
        assert!(open_with(&DataKey::generate().unwrap(), &here, &sealed).is_err(), "another key");
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(open_with(&key, &here, &changed).is_err(), "byte {at}");
            assert!(open_with(&key, &here, &sealed[..at]).is_err(), "cut at {at}");
        }
    }
}

#[test]
fn what_fails_says_the_fields_name_and_no_more() {
    let (key, id) = (DataKey::generate().unwrap(), Uuid::new_v4());
    let here = place(Field::ClinicalNotes);
    let mut sealed = seal_with(&key, id, &here, "canary words").unwrap();
    *sealed.last_mut().unwrap() ^= 1;
    let said = open_with(&key, &here, &sealed).unwrap_err().to_string();
    assert_eq!(said, "keys: a sealed field does not open: clinicalNotes");
}

#[test]
fn no_two_fields_are_bound_alike() {
    for (at, one) in Field::ALL.iter().enumerate() {
        for other in &Field::ALL[at + 1..] {
            assert_ne!(one.column(), other.column());
            assert_ne!(one.as_str(), other.as_str());
        }
    }
}

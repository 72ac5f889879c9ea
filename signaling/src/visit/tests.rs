//! The status machine, whole and at random.

use proptest::prelude::*;

use super::*;
use VisitStatus as S;

/// Section 3.2 of the visit model, row by row.
const TABLE: &[(S, S)] = &[
    (S::Scheduled, S::Waiting),
    (S::Scheduled, S::InProgress),
    (S::Waiting, S::InProgress),
    (S::Waiting, S::Scheduled),
    (S::InProgress, S::Completed),
    (S::Scheduled, S::NoShow),
    (S::Waiting, S::NoShow),
    (S::InProgress, S::NoShow),
    (S::Scheduled, S::Cancelled),
    (S::Waiting, S::Cancelled),
    (S::InProgress, S::Cancelled),
    (S::Scheduled, S::Technical),
    (S::Waiting, S::Technical),
    (S::InProgress, S::Technical),
    (S::Technical, S::Waiting),
];

#[test]
fn the_machine_has_the_moves_of_the_table_and_no_other() {
    for from in S::ALL {
        for to in S::ALL {
            assert_eq!(from.may_become(*to), TABLE.contains(&(*from, *to)), "{from:?} to {to:?}");
        }
        assert_eq!(S::parse(from.as_str()), Some(*from));
    }
}

proptest! {
    /// However moves are asked for, what is final stays final and nothing is completed that was not in progress just before.
    #[test]
    fn random_walks_keep_the_laws(asked in proptest::collection::vec(0..S::ALL.len(), 0..60)) {
        let mut status = S::Scheduled;
        for to in asked.into_iter().filter_map(|n| S::ALL.get(n)) {
            let was = status;
            if status.may_become(*to) {
                status = *to;
            }
            if matches!(was, S::Completed | S::NoShow | S::Cancelled) {
                prop_assert_eq!(status, was);
            }
            if status == S::Completed && was != S::Completed {
                prop_assert_eq!(was, S::InProgress);
            }
        }
    }
}

fn new_visit() -> NewVisit {
    NewVisit {
        appointment: None,
        patient_id: "p".into(),
        patient_name: Redacted::new("A".into()),
        clinician_id: "c".into(),
        clinician_name: Redacted::new("B".into()),
        visit_type: None,
        channel: Channel::Both,
        scheduled_start: Timestamp::UNIX_EPOCH,
        duration_min: 30,
        recording_policy: RecordingPolicy::OptIn,
        demo: false,
        chief_complaint: None,
        patient_state: None,
    }
}

#[test]
fn values_that_do_not_fit_are_named() {
    assert!(new_visit().validate().is_ok());
    for (field, bad) in [
        ("patientId", NewVisit { patient_id: String::new(), ..new_visit() }),
        ("patientId", NewVisit { patient_id: "a\nb".into(), ..new_visit() }),
        ("clinicianName", NewVisit { clinician_name: Redacted::new("x".repeat(101)), ..new_visit() }),
        ("visitType", NewVisit { visit_type: Some(" ".into()), ..new_visit() }),
        ("chiefComplaint", NewVisit { chief_complaint: Some(Redacted::new("x".repeat(2001))), ..new_visit() }),
        ("chiefComplaint", NewVisit { chief_complaint: Some(Redacted::new("a\0b".into())), ..new_visit() }),
        ("duration", NewVisit { duration_min: 4, ..new_visit() }),
    ] {
        let Err(Error::Refused(problem)) = bad.validate() else { panic!("{field} was taken") };
        assert_eq!(problem.code, Code::Invalid);
        assert!(problem.detail.starts_with(field), "{}", problem.detail);
    }
}

/// The refusal of a move names the moves that there are.
#[test]
fn a_refusal_says_what_is_allowed() {
    let Error::Refused(problem) = refuse_move(S::Waiting, S::Completed) else { panic!("a refusal") };
    let member = |name: &str| problem.members.iter().find(|(key, _)| *key == name).map(|(_, value)| value.clone());
    assert_eq!(problem.code, Code::InvalidTransition);
    assert_eq!(member("from"), Some("WAITING".into()));
    let allowed = ["SCHEDULED", "IN_PROGRESS", "NO_SHOW", "CANCELLED", "TECHNICAL"];
    assert_eq!(member("allowed"), Some(allowed.to_vec().into()));
}

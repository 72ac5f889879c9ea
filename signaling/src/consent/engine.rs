//! Whether the people in a visit may be recorded. Everybody present must have signed, in every state; where they are chooses what they are
//! told, what staff should know, and how strict the law is. Stored consents alone count: nobody vouches for anybody.

use serde::Serialize;

use crate::consent::ConsentStatus;
use crate::consent::rulebook::{self, Floor, PrivatePlace};
use crate::ids::ParticipantId;
use crate::participant::Role;
use crate::state::StateCode;

/// Somebody who is in the visit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Present {
    /// Who.
    pub participant: ParticipantId,
    /// As what. No role is excused.
    pub role: Role,
    /// Where they say they are; nobody knows is the strictest case.
    pub state: Option<StateCode>,
    /// Where they stand towards the consent to clinical recording in force.
    pub standing: ConsentStatus,
}

/// What the law of all their states together asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Law {
    /// The strictest floor of all; unknown counts as strict.
    pub floor: Floor,
    /// Somebody's state is not known.
    pub has_unknown_state: bool,
    /// The announcement has to be part of the file.
    pub announce_in_recording: bool,
    /// Everybody who is filmed at home must agree.
    pub is_private_place: bool,
    /// What people are told.
    pub notice: &'static str,
    /// What staff should know, by state.
    pub notes: Vec<(StateCode, &'static str)>,
}

/// Whether capture may begin or go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruling {
    /// Those present who have not signed, in the order given.
    pub missing: Vec<ParticipantId>,
    /// Nobody is there: then there is nothing to record.
    pub is_empty: bool,
    /// What the law asks.
    pub law: Law,
}

impl Ruling {
    /// True when everybody present has signed, and somebody is present.
    #[must_use]
    pub const fn may_record(&self) -> bool {
        self.missing.is_empty() && !self.is_empty
    }
}

/// Decides for the people present.
#[must_use]
pub fn decide(present: &[Present]) -> Ruling {
    let lacking = present.iter().filter(|person| person.standing != ConsentStatus::Signed);
    Ruling {
        missing: lacking.map(|person| person.participant).collect(),
        is_empty: present.is_empty(),
        law: law(present.iter().map(|person| person.state)),
    }
}

/// The strictest of the states in which people are.
pub fn law(states: impl IntoIterator<Item = Option<StateCode>>) -> Law {
    let mut known: Vec<StateCode> = Vec::new();
    let (mut has_unknown_state, mut is_anybody_there) = (false, false);
    for state in states {
        is_anybody_there = true;
        match state {
            Some(state) => known.push(state),
            None => has_unknown_state = true,
        }
    }
    known.sort_unstable();
    known.dedup();
    let rules: Vec<_> = known.iter().filter_map(|state| rulebook::find(*state)).collect();
    // A state without a row is as good as unknown.
    let is_strict = has_unknown_state || !is_anybody_there || rules.len() < known.len();
    let floor =
        if is_strict { Floor::AllParty } else { rules.iter().map(|r| r.floor).max().unwrap_or(Floor::AllParty) };
    let announce_in_recording = is_strict || rules.iter().any(|rule| rule.announce_in_recording);
    Law {
        floor,
        has_unknown_state: is_strict,
        announce_in_recording,
        is_private_place: is_strict || rules.iter().any(|rule| rule.private_place_video != PrivatePlace::None),
        notice: rulebook::notice(floor, announce_in_recording),
        notes: rules.iter().map(|rule| (rule.state_code, rule.legal_note())).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ROLES: [Role; 7] = [
        Role::Patient,
        Role::Clinician,
        Role::Guest,
        Role::Interpreter,
        Role::Caregiver,
        Role::Supervisor,
        Role::Observer,
    ];

    fn person(role: Role, state: Option<StateCode>, standing: ConsentStatus) -> Present {
        Present { participant: ParticipantId::random(), role, state, standing }
    }

    /// Every state, every role, every way of not having signed: one is enough for a refusal that names exactly them.
    #[test]
    fn c_01_one_missing_consent_refuses_in_every_state_and_role() {
        let mut cases = 0;
        for state in StateCode::all() {
            for role in ROLES {
                for lacking in
                    [ConsentStatus::Pending, ConsentStatus::Declined, ConsentStatus::Revoked, ConsentStatus::Expired]
                {
                    let mut room: Vec<Present> =
                        ROLES.iter().map(|role| person(*role, Some(state), ConsentStatus::Signed)).collect();
                    assert!(decide(&room).may_record(), "{state:?}: everybody signed");
                    let at = ROLES.iter().position(|other| *other == role).unwrap();
                    room[at].standing = lacking;
                    let ruling = decide(&room);
                    assert!(!ruling.may_record(), "{state:?} {role:?} {lacking:?}");
                    assert_eq!(ruling.missing, [room[at].participant]);
                    cases += 1;
                }
            }
        }
        assert_eq!(cases, 51 * 7 * 4);
    }

    #[test]
    fn c_02_an_unknown_state_is_the_strictest_and_refuses_without_every_signature() {
        let alabama = StateCode::parse("AL");
        let signed = [person(Role::Clinician, alabama, ConsentStatus::Signed)];
        assert_eq!(decide(&signed).law.floor, Floor::OneParty);
        for standing in [ConsentStatus::Pending, ConsentStatus::Declined] {
            let room = [signed[0], person(Role::Patient, None, standing)];
            let ruling = decide(&room);
            assert!(!ruling.may_record());
            assert!(ruling.law.has_unknown_state && ruling.law.announce_in_recording && ruling.law.is_private_place);
            assert_eq!(ruling.law.floor, Floor::AllParty);
        }
        // The strict consent is everybody's signature: with it the law of any state is kept.
        let room = [signed[0], person(Role::Patient, None, ConsentStatus::Signed)];
        let ruling = decide(&room);
        assert!(ruling.may_record());
        assert_eq!(ruling.law.floor, Floor::AllParty, "known or not, what people are told stays strict");
    }

    #[test]
    fn nobody_is_not_everybody() {
        let ruling = decide(&[]);
        assert!(!ruling.may_record());
        assert!(ruling.missing.is_empty());
        assert_eq!(ruling.law.floor, Floor::AllParty);
    }

    #[test]
    fn washington_wants_the_announcement_in_the_file() {
        let law = law([StateCode::parse("AL"), StateCode::parse("WA")]);
        assert!(law.announce_in_recording);
        assert!(law.notice.contains("part of the recording"));
        assert_eq!(law.notes.len(), 2);
    }

    fn any_state() -> impl Strategy<Value = Option<StateCode>> {
        proptest::option::of(proptest::sample::select(StateCode::all().collect::<Vec<_>>()))
    }

    fn any_standing() -> impl Strategy<Value = ConsentStatus> {
        proptest::sample::select(vec![
            ConsentStatus::Signed,
            ConsentStatus::Pending,
            ConsentStatus::Declined,
            ConsentStatus::Revoked,
            ConsentStatus::Expired,
        ])
    }

    proptest! {
        /// Across borders the strictest state rules, and where people are never makes up for a signature.
        #[test]
        fn the_strictest_state_rules_and_no_state_replaces_a_signature(
            people in proptest::collection::vec((0..7_usize, any_state(), any_standing()), 1..8)
        ) {
            let room: Vec<Present> =
                people.iter().map(|(role, state, standing)| person(ROLES[*role], *state, *standing)).collect();
            let ruling = decide(&room);
            let everybody = people.iter().all(|(_, _, standing)| *standing == ConsentStatus::Signed);
            prop_assert_eq!(ruling.may_record(), everybody);
            for (_, state, _) in &people {
                let alone = law([*state]);
                prop_assert!(ruling.law.floor >= alone.floor);
                prop_assert!(ruling.law.announce_in_recording || !alone.announce_in_recording);
                prop_assert!(ruling.law.is_private_place || !alone.is_private_place);
            }
        }
    }
}

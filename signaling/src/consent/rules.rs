//! What recording asks: a signed answer to the version in force of everyone present, in every state.

use crate::clock::Timestamp;
use crate::consent::{Answer, ConsentStatus, Decision};
use crate::error::Error;
use crate::ids::ParticipantId;
use crate::problem::Code;

/// Where a participant stands, given their newest answer and the version in force.
#[must_use]
pub fn standing(newest: Option<&Answer>, version: i32, now: Timestamp) -> ConsentStatus {
    match newest {
        None => ConsentStatus::Pending,
        Some(answer) if answer.status != ConsentStatus::Signed => answer.status,
        Some(answer) if answer.version != version || answer.expires_at.is_some_and(|until| until <= now) => {
            ConsentStatus::Pending
        }
        Some(_) => ConsentStatus::Signed,
    }
}

/// Who of those present has not signed the version in force. `newest` holds each participant's newest answer.
#[must_use]
pub fn missing(present: &[ParticipantId], newest: &[Answer], version: i32, now: Timestamp) -> Vec<ParticipantId> {
    present
        .iter()
        .copied()
        .filter(|id| {
            let answer = newest.iter().find(|answer| answer.participant == *id);
            standing(answer, version, now) != ConsentStatus::Signed
        })
        .collect()
}

/// Confirms that a recording may begin: somebody is present, and everyone present has signed.
///
/// # Errors
/// `CONSENT_REQUIRED` with `missing`.
pub fn may_record(present: &[ParticipantId], newest: &[Answer], version: i32, now: Timestamp) -> Result<(), Error> {
    let missing = missing(present, newest, version, now);
    if missing.is_empty() && !present.is_empty() {
        return Ok(());
    }
    let ids: Vec<String> = missing.iter().map(ToString::to_string).collect();
    Err(Code::ConsentRequired.problem().member("missing", ids).into())
}

/// What a decision is stored as. Agreement counts for the version in force alone; a refusal counts whatever version it names.
///
/// # Errors
/// `CONSENT_OUTDATED` with `version`, for a signature under another version.
pub fn outcome(
    decision: Decision,
    answered: i32,
    version: i32,
    newest: Option<&Answer>,
) -> Result<ConsentStatus, Error> {
    match decision {
        Decision::Sign if answered != version => Err(Code::ConsentOutdated.problem().member("version", version).into()),
        Decision::Sign => Ok(ConsentStatus::Signed),
        Decision::Decline => Ok(ConsentStatus::Declined),
        // Taking back what was never given is a no.
        Decision::Revoke if newest.is_some_and(|answer| answer.status == ConsentStatus::Signed) => {
            Ok(ConsentStatus::Revoked)
        }
        Decision::Revoke => Ok(ConsentStatus::Declined),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ConsentId;
    use proptest::prelude::*;
    use time::Duration;
    use time::macros::datetime;

    const NOW: Timestamp = datetime!(2026-11-21 10:00 UTC);

    fn answer(participant: ParticipantId, version: i32, status: ConsentStatus) -> Answer {
        Answer {
            id: ConsentId::random(),
            participant,
            version,
            text_sha256: vec![0; 32],
            status,
            decided_at: NOW,
            expires_at: None,
            is_own: true,
        }
    }

    #[test]
    fn an_old_version_or_a_past_date_is_pending_again() {
        let who = ParticipantId::random();
        let signed = answer(who, 1, ConsentStatus::Signed);
        assert_eq!(standing(Some(&signed), 1, NOW), ConsentStatus::Signed);
        assert_eq!(standing(Some(&signed), 2, NOW), ConsentStatus::Pending);
        let limited = Answer { expires_at: Some(NOW), ..signed };
        assert_eq!(standing(Some(&limited), 1, NOW), ConsentStatus::Pending);
        assert_eq!(standing(Some(&limited), 1, NOW - Duration::seconds(1)), ConsentStatus::Signed);
        assert_eq!(standing(Some(&answer(who, 1, ConsentStatus::Declined)), 2, NOW), ConsentStatus::Declined);
    }

    #[test]
    fn an_empty_room_is_not_recorded() {
        assert!(may_record(&[], &[], 1, NOW).is_err());
    }

    proptest! {
        /// Whoever is there and has said whatever: recording needs a current signature of each, and names exactly the others.
        #[test]
        fn recording_needs_everyone(people in proptest::collection::vec((0..4_u8, 1..3_i32), 1..5)) {
            let ids: Vec<ParticipantId> = people.iter().map(|_| ParticipantId::random()).collect();
            let answers: Vec<Answer> = people.iter().zip(&ids).filter_map(|((said, version), id)| {
                let status = match said { 0 => return None, 1 => ConsentStatus::Signed, 2 => ConsentStatus::Declined, _ => ConsentStatus::Revoked };
                Some(answer(*id, *version, status))
            }).collect();
            let good = people.iter().all(|(said, version)| *said == 1 && *version == 2);
            prop_assert_eq!(may_record(&ids, &answers, 2, NOW).is_ok(), good);
            let lacking = people.iter().filter(|(said, version)| *said != 1 || *version != 2).count();
            prop_assert_eq!(missing(&ids, &answers, 2, NOW).len(), lacking);
        }
    }
}

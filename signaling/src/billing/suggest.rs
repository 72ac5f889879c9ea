//! What the table suggests for a visit. A person confirms it, or says something else.

use schemars::JsonSchema;
use serde::Serialize;

use crate::billing::table::{Profile, VERSION};
use crate::billing::{AudioOnlyReason, Facts, Media};
use crate::location::PlaceKind;

/// How sure a suggestion is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Confidence {
    /// Everything it rests on is known and was found.
    High,
    /// Something is to be looked at: a person has to.
    Low,
    /// There is nothing to suggest.
    None,
}

impl Confidence {
    /// As stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::High => "HIGH",
            Self::Low => "LOW",
            Self::None => "NONE",
        }
    }
}

/// Codes for a claim, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Suggestion {
    /// Place of service; none where nobody knows where the patient was.
    pub pos: Option<&'static str>,
    /// In the order in which they stand on the claim.
    pub modifiers: Vec<String>,
    /// The rules that led here.
    pub rule_ids: Vec<&'static str>,
    /// Of the table.
    pub table_version: &'static str,
    /// Whose rules were asked.
    pub payer_profile: String,
    /// How sure it is.
    pub confidence: Confidence,
    /// A coder has to look: the visit was of two kinds, or sound alone without what that needs.
    pub needs_coder: bool,
}

/// The place of service of a kind of place.
#[must_use]
pub const fn place_of_service(kind: PlaceKind) -> (&'static str, &'static str) {
    match kind {
        PlaceKind::Home
        | PlaceKind::TemporaryLodging
        | PlaceKind::Vehicle
        | PlaceKind::Workplace
        | PlaceKind::OtherNonFacility => ("10", "POS-10"),
        PlaceKind::Facility | PlaceKind::Clinic | PlaceKind::Hospital | PlaceKind::School => ("02", "POS-02"),
    }
}

/// Suggests codes for where the patient was, what happened, and who pays.
#[must_use]
pub fn suggest(place: Option<PlaceKind>, facts: Facts, profile: &Profile) -> Suggestion {
    let mut rule_ids = Vec::new();
    let (mut modifiers, mut is_low, mut needs_coder) = (Vec::new(), profile.confidence != "found", false);
    let pos = place.map(place_of_service).map(|(pos, rule)| {
        rule_ids.push(rule);
        pos
    });
    if pos.is_none() {
        rule_ids.push("POS-UNKNOWN");
        is_low = true;
    }
    match facts.media {
        Media::AudioVideo => {
            if let Some(code) = profile.audio_video().next() {
                modifiers.push(code.to_owned());
                rule_ids.push("AV-PAYER-ASKS");
            }
        }
        Media::AudioOnly => {
            let has_reason = matches!(
                facts.audio_only_reason,
                Some(AudioOnlyReason::NoCapability | AudioOnlyReason::PatientDeclined)
            );
            let is_at_home = place.is_some_and(|kind| place_of_service(kind).0 == "10");
            if facts.video_offered && has_reason && (is_at_home || !profile.audio_only_needs_home) {
                modifiers.extend(profile.audio_only().next().map(ToOwned::to_owned));
                rule_ids.push("AUDIO-ONLY");
            } else {
                // Sound alone without what it needs is nothing to guess at.
                rule_ids.push("AUDIO-ONLY-UNSUPPORTED");
                needs_coder = true;
            }
        }
        Media::Mixed => {
            rule_ids.push("MIXED-MODALITY");
            needs_coder = true;
        }
        Media::Unknown => {
            rule_ids.push("MEDIA-UNKNOWN");
            is_low = true;
        }
    }
    if facts.supervisor_on_video && !needs_coder {
        modifiers.push("FR".to_owned());
        rule_ids.push("SUPERVISOR-ON-VIDEO");
        // Where that code came from was not found.
        is_low = true;
    }
    let nothing = pos.is_none() && modifiers.is_empty();
    let confidence = match (nothing, is_low || needs_coder) {
        (true, _) => Confidence::None,
        (false, true) => Confidence::Low,
        (false, false) => Confidence::High,
    };
    Suggestion {
        pos,
        modifiers,
        rule_ids,
        table_version: VERSION,
        payer_profile: profile.profile.clone(),
        confidence,
        needs_coder,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::billing::{check, table};

    fn profile(key: &str) -> &'static Profile {
        table::find_profile(key).unwrap()
    }

    fn audio_video() -> Facts {
        Facts { media: Media::AudioVideo, video_offered: true, ..Facts::default() }
    }

    #[test]
    fn the_place_is_the_patients_and_never_guessed() {
        for kind in PlaceKind::ALL {
            let is_facility =
                matches!(kind, PlaceKind::Facility | PlaceKind::Clinic | PlaceKind::Hospital | PlaceKind::School);
            let suggested = suggest(Some(*kind), audio_video(), profile("medicare"));
            assert_eq!(suggested.pos, Some(if is_facility { "02" } else { "10" }), "{kind:?}");
            assert_eq!(suggested.confidence, Confidence::High);
        }
        let unknown = suggest(None, audio_video(), profile("medicare"));
        assert_eq!((unknown.pos, unknown.confidence), (None, Confidence::None));
        assert_eq!(unknown.rule_ids, ["POS-UNKNOWN"]);
    }

    #[test]
    fn a_payer_gets_the_modifier_that_it_asks_for() {
        let home = Some(PlaceKind::Home);
        assert!(suggest(home, audio_video(), profile("medicare")).modifiers.is_empty());
        assert_eq!(suggest(home, audio_video(), profile("medicare_cah2")).modifiers, ["GT"]);
        assert_eq!(suggest(home, audio_video(), profile("medicaid_ak")).modifiers, ["95"]);
        let commercial = suggest(home, audio_video(), profile("commercial_95"));
        assert_eq!((commercial.modifiers, commercial.confidence), (vec!["95".to_owned()], Confidence::Low));
    }

    #[test]
    fn sound_alone_needs_a_reason_an_offer_and_a_home() {
        let facts = Facts {
            media: Media::AudioOnly,
            video_offered: true,
            audio_only_reason: Some(AudioOnlyReason::PatientDeclined),
            supervisor_on_video: false,
        };
        let at = |kind, facts, key| suggest(Some(kind), facts, profile(key));
        assert_eq!(at(PlaceKind::Home, facts, "medicare").modifiers, ["93"]);
        assert_eq!(at(PlaceKind::Home, facts, "medicaid_ak").modifiers, ["FQ"]);
        assert_eq!(at(PlaceKind::Clinic, facts, "medicaid_ak").modifiers, ["FQ"]);
        for (kind, facts) in [
            (PlaceKind::Clinic, facts),
            (PlaceKind::Home, Facts { video_offered: false, ..facts }),
            (PlaceKind::Home, Facts { audio_only_reason: None, ..facts }),
            (PlaceKind::Home, Facts { audio_only_reason: Some(AudioOnlyReason::Technical), ..facts }),
            (PlaceKind::Home, Facts { media: Media::Mixed, ..facts }),
        ] {
            let suggested = at(kind, facts, "medicare");
            assert!(suggested.modifiers.is_empty() && suggested.needs_coder, "{kind:?} {facts:?}");
        }
    }

    /// What is suggested never breaks the rules that what is set is held against.
    #[test]
    fn no_suggestion_breaks_a_rule() {
        let reasons = [
            None,
            Some(AudioOnlyReason::NoCapability),
            Some(AudioOnlyReason::PatientDeclined),
            Some(AudioOnlyReason::Technical),
        ];
        let mut count = 0;
        for profile in table::profiles() {
            for place in PlaceKind::ALL.iter().copied().map(Some).chain([None]) {
                for media in [Media::AudioVideo, Media::AudioOnly, Media::Mixed, Media::Unknown] {
                    for reason in reasons {
                        for bits in 0..4 {
                            let facts = Facts {
                                media,
                                video_offered: bits & 1 == 1,
                                audio_only_reason: reason,
                                supervisor_on_video: bits & 2 == 2,
                            };
                            let suggested = suggest(place, facts, profile);
                            let broken = check(suggested.pos, &suggested.modifiers, place, facts, profile, VERSION);
                            assert!(broken.is_empty(), "{suggested:?} {broken:?}");
                            count += 1;
                        }
                    }
                }
            }
        }
        assert_eq!(count, table::profiles().len() * 10 * 4 * 4 * 4);
    }
}

//! The rules that codes are held against before they are kept. Whoever breaks one says why.

use schemars::JsonSchema;
use serde::Serialize;

use crate::billing::suggest::place_of_service;
use crate::billing::table::{self, CodeKind, Profile};
use crate::billing::{AudioOnlyReason, Facts, Media};
use crate::location::PlaceKind;

/// A rule that is broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Violation {
    /// Its name.
    pub rule: &'static str,
    /// In words.
    pub detail: &'static str,
}

const fn violation(rule: &'static str, detail: &'static str) -> Violation {
    Violation { rule, detail }
}

/// Every rule that these codes break, on a day of service (`YYYY-MM-DD`).
#[must_use]
pub fn check(
    pos: Option<&str>,
    modifiers: &[String],
    place: Option<PlaceKind>,
    facts: Facts,
    profile: &Profile,
    day: &str,
) -> Vec<Violation> {
    let mut broken = Vec::new();
    let has = |code: &str| modifiers.iter().any(|modifier| modifier == code);
    if pos.is_some_and(|pos| !table::holds(CodeKind::Pos, pos, day)) {
        broken.push(violation("POS-NOT-IN-TABLE", "This place of service is not one of remote care on that day."));
    }
    if let (Some(pos), Some(kind)) = (pos, place)
        && matches!(pos, "02" | "10")
        && pos != place_of_service(kind).0
    {
        broken.push(violation(
            "POS-LOCATION",
            "The place of service is another one than where the patient said they were.",
        ));
    }
    if modifiers.iter().any(|code| !table::holds(CodeKind::Modifier, code, day)) {
        broken.push(violation("MODIFIER-NOT-IN-TABLE", "A modifier is not in the table on that day."));
    }
    if modifiers.iter().enumerate().any(|(at, code)| modifiers.iter().take(at).any(|before| before == code)) {
        broken.push(violation("MODIFIER-TWICE", "A modifier is there twice."));
    }
    let clash = |one: &str, other: &str| has(one) && has(other) && !profile.allows_together(one, other);
    let pairs = [("95", "GT"), ("95", "93"), ("95", "FQ"), ("95", "GQ"), ("GT", "93"), ("GT", "FQ"), ("GT", "GQ")];
    if pairs.iter().any(|(one, other)| clash(one, other)) {
        broken.push(violation("PICTURE-AND-NOT", "Codes for picture and for no picture stand on one line."));
    }
    if clash("93", "FQ") {
        broken.push(violation("SOUND-TWICE", "This payer takes one code for sound alone."));
    }
    if has("93") || has("FQ") {
        let has_reason =
            matches!(facts.audio_only_reason, Some(AudioOnlyReason::NoCapability | AudioOnlyReason::PatientDeclined));
        if !facts.video_offered || !has_reason {
            broken
                .push(violation("SOUND-REASON", "Sound alone needs that video was offered, and why it was not used."));
        }
        if profile.audio_only_needs_home && place.is_none_or(|kind| place_of_service(kind).0 != "10") {
            broken.push(violation("SOUND-HOME", "This payer takes sound alone for a patient at home."));
        }
        if facts.media == Media::AudioVideo {
            broken.push(violation("SOUND-WITH-PICTURE", "The visit had pictures."));
        }
    }
    if (has("95") || has("GT")) && facts.media == Media::AudioOnly {
        broken.push(violation("PICTURE-WITHOUT", "The visit had no pictures."));
    }
    if has("GQ") {
        broken.push(violation("LIVE-NOT-STORED", "A live visit is not looked at later."));
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(pos: &str, modifiers: &[&str], facts: Facts, key: &str) -> Vec<&'static str> {
        let modifiers: Vec<String> = modifiers.iter().map(|code| (*code).to_owned()).collect();
        let profile = table::find_profile(key).unwrap();
        let found = check(Some(pos), &modifiers, Some(PlaceKind::Home), facts, profile, "2026-11-21");
        found.into_iter().map(|violation| violation.rule).collect()
    }

    #[test]
    fn each_rule_is_broken_by_what_it_forbids() {
        let seen = Facts { media: Media::AudioVideo, video_offered: true, ..Facts::default() };
        let heard = Facts {
            media: Media::AudioOnly,
            video_offered: true,
            audio_only_reason: Some(AudioOnlyReason::NoCapability),
            ..Facts::default()
        };
        assert!(broken("10", &["95"], seen, "medicare").is_empty());
        assert!(broken("10", &["93"], heard, "medicare").is_empty());
        assert_eq!(broken("11", &[], seen, "medicare"), ["POS-NOT-IN-TABLE"]);
        assert_eq!(broken("02", &[], seen, "medicare"), ["POS-LOCATION"]);
        assert_eq!(broken("10", &["GO"], seen, "medicare"), ["MODIFIER-NOT-IN-TABLE"], "the letter O is another thing");
        assert_eq!(broken("10", &["95", "95"], seen, "medicare"), ["MODIFIER-TWICE"]);
        assert_eq!(broken("10", &["95", "GT"], seen, "medicare"), ["PICTURE-AND-NOT"]);
        assert_eq!(broken("10", &["93", "FQ"], heard, "medicare"), ["SOUND-TWICE"]);
        assert!(broken("10", &["93", "FQ"], heard, "medicaid_ak").is_empty());
        let unexplained = Facts { audio_only_reason: None, ..heard };
        assert_eq!(broken("10", &["93"], unexplained, "medicare"), ["SOUND-REASON"]);
        assert_eq!(broken("10", &["95"], heard, "medicare"), ["PICTURE-WITHOUT"]);
        assert_eq!(broken("10", &["GQ"], seen, "medicare"), ["LIVE-NOT-STORED"]);
        let said = Facts { audio_only_reason: Some(AudioOnlyReason::PatientDeclined), ..seen };
        assert_eq!(broken("10", &["FQ"], said, "medicaid_ak"), ["SOUND-WITH-PICTURE"]);
    }
}

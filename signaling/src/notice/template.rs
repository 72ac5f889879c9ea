//! The words of messages. A template may use the variables of [`ALLOWED`] and no others: none of them can hold who the patient is, why
//! they come, or what for.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use jiff::tz::TimeZone;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value};

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::notice::{Template, gsm};
use crate::participant::short_name;

/// Everything that a message can be made of.
#[cfg(test)]
pub(crate) const ALLOWED: &[&str] = &["practice", "clinician", "when", "link", "phone", "stop"];

/// The word that ends messages; phone companies know it in every language.
const STOP: &str = "STOP";

/// What a clinician is called whom nobody has named.
const UNNAMED: &str = "Your clinician";

/// What a practice is called where its own name would say too much.
const NEUTRAL: &str = "Your clinic";

macro_rules! locale {
    ($name:literal, $time:literal, [$($kind:literal),*]) => {
        Locale {
            name: $name,
            time: $time,
            files: &[
                (concat!($name, "/layout.txt"), include_str!(concat!("templates/", $name, "/layout.txt"))),
                (concat!($name, "/layout.html"), include_str!(concat!("templates/", $name, "/layout.html"))),
                $(
                    (concat!($name, "/", $kind, ".sms"), include_str!(concat!("templates/", $name, "/", $kind, ".sms"))),
                    (concat!($name, "/", $kind, ".txt"), include_str!(concat!("templates/", $name, "/", $kind, ".txt"))),
                    (concat!($name, "/", $kind, ".html"), include_str!(concat!("templates/", $name, "/", $kind, ".html"))),
                )*
            ],
        }
    };
}

/// A language: its files, and how it writes a time.
struct Locale {
    name: &'static str,
    /// As `strftime` has it.
    time: &'static str,
    files: &'static [(&'static str, &'static str)],
}

/// Every language there is; the first stands in for those that are not. A new one is a folder beside `en` and a line here.
static LOCALES: &[Locale] =
    &[locale!("en", "%a, %b %-d at %-I:%M %p %Z", ["initial", "reminder", "link", "rescheduled", "cancelled"])];

static TEMPLATES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut environment = Environment::empty();
    environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    environment.set_auto_escape_callback(|name| {
        if name.rsplit_once('.').is_some_and(|(_, kind)| kind == "html") { AutoEscape::Html } else { AutoEscape::None }
    });
    for (name, text) in LOCALES.iter().flat_map(|locale| locale.files) {
        environment
            .add_template(name, text)
            .expect("a template that is compiled in can be read: a test reads them all");
    }
    environment
});

fn locale(tag: &str) -> &'static Locale {
    let language = tag.split(['-', '_']).next().unwrap_or_default();
    let found = LOCALES.iter().find(|locale| locale.name.eq_ignore_ascii_case(language));
    found.or(LOCALES.first()).expect("there is a language")
}

/// How a practice appears in messages.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    /// As patients know it.
    pub name: String,
    /// Shown instead.
    pub alias: Option<String>,
    /// Where to call.
    pub phone: String,
    /// A name of such a practice, or of its clinician, says what a patient has: psychiatry, substance use, reproductive health, HIV.
    pub is_sensitive: bool,
    /// Whether messages name the clinician at all.
    pub names_clinician: bool,
}

impl Sender {
    fn shown(&self) -> &str {
        match &self.alias {
            Some(alias) => alias,
            None if self.is_sensitive => NEUTRAL,
            None => &self.name,
        }
    }
}

/// What one message speaks of.
#[derive(Clone, Debug)]
pub(crate) struct Words<'a> {
    pub(crate) template: Template,
    pub(crate) locale: &'a str,
    pub(crate) sender: &'a Sender,
    /// The clinician's full name, of which the first is used.
    pub(crate) clinician: Option<&'a str>,
    /// The start and the person's time zone; none where they did not agree to be written times.
    pub(crate) when: Option<(Timestamp, &'a str)>,
    /// The page or the link; a cancellation has none.
    pub(crate) link: Option<&'a str>,
}

/// An e-mail's texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mail {
    pub(crate) subject: String,
    pub(crate) text: String,
    pub(crate) html: String,
}

/// The time of a visit as a person reads it; none where the zone is unknown.
pub(crate) fn local_time(locale_tag: &str, at: Timestamp, zone: &str) -> Option<String> {
    let zoned = zoned(at, zone)?;
    jiff::fmt::strtime::format(locale(locale_tag).time, &zoned).ok()
}

/// Whether two times are on the same day at a place.
pub(crate) fn is_same_day(one: Timestamp, other: Timestamp, zone: &str) -> bool {
    match (zoned(one, zone), zoned(other, zone)) {
        (Some(one), Some(other)) => one.date() == other.date(),
        _ => one.date() == other.date(),
    }
}

/// The midnight with which the day of `at` began at a place.
pub(crate) fn day_began(at: Timestamp, zone: &str) -> Timestamp {
    let began = zoned(at, zone).and_then(|zoned| zoned.start_of_day().ok());
    let began = began.and_then(|began| Timestamp::from_unix_timestamp(began.timestamp().as_second()).ok());
    began.unwrap_or_else(|| at.replace_time(time::Time::MIDNIGHT))
}

/// Whether a name is in the tz database.
pub(crate) fn is_zone(name: &str) -> bool {
    name.len() <= 64 && TimeZone::get(name).is_ok()
}

fn zoned(at: Timestamp, zone: &str) -> Option<jiff::ZonedDateTime> {
    let zone = TimeZone::get(zone).ok()?;
    Some(jiff::Timestamp::from_second(at.unix_timestamp()).ok()?.to_zoned_datetime(zone))
}

impl Words<'_> {
    fn clinician(&self) -> Option<String> {
        let is_named = self.sender.names_clinician && !self.sender.is_sensitive;
        let name = short_name(self.clinician.filter(|name| is_named && *name != UNNAMED)?);
        (!name.is_empty()).then_some(name)
    }

    /// The practice's name or its stand-in.
    pub(crate) fn practice(&self) -> &str {
        self.sender.shown()
    }

    fn when(&self) -> Option<String> {
        let (at, zone) = self.when?;
        local_time(self.locale, at, zone)
    }

    fn file(&self, kind: &str) -> String {
        format!("{}/{}.{kind}", locale(self.locale).name, self.template.as_str().to_lowercase())
    }

    /// The text message: in the alphabet of text messages, and never longer than one. Where names are too long, what can best be spared
    /// goes first: the clinician, the end of the practice's name, the time, the number to call. Link and way out always stay.
    pub(crate) fn sms(&self) -> Result<String> {
        let practice = match gsm::plain(self.sender.shown()) {
            name if name.is_empty() => NEUTRAL.to_owned(),
            name => name,
        };
        let clinician = self.clinician().map(|name| gsm::plain(&name)).filter(|name| !name.is_empty());
        let when = self.when().map(|when| gsm::plain(&when));
        let phone = Some(gsm::plain(&self.sender.phone)).filter(|phone| !phone.is_empty());
        let link = self.link.map(ToOwned::to_owned);
        let attempts = [
            (usize::MAX, clinician, when.clone(), phone.clone()),
            (usize::MAX, None, when.clone(), phone.clone()),
            (30, None, when.clone(), phone.clone()),
            (20, None, when.clone(), phone.clone()),
            (20, None, None, phone.clone()),
            (20, None, None, None),
            (12, None, None, None),
        ];
        for (most, clinician, when, phone) in attempts {
            let practice = gsm::cut(&practice, most).to_owned();
            let text = render(&self.file("sms"), &variables(practice, clinician, when, link.clone(), phone))?.0;
            if gsm::places(&text).is_some_and(|places| places <= gsm::PLACES) {
                return Ok(text);
            }
        }
        Err(Error::Inside("a text message does not fit: is `public_url` too long?".to_owned()))
    }

    /// The e-mail.
    pub(crate) fn mail(&self) -> Result<Mail> {
        let one_line = |text: &str| text.split(|c: char| c.is_control()).collect::<Vec<_>>().join(" ");
        let variables = variables(
            one_line(self.sender.shown()),
            self.clinician().map(|name| one_line(&name)),
            self.when(),
            self.link.map(ToOwned::to_owned),
            Some(self.sender.phone.clone()),
        );
        let (text, subject) = render(&self.file("txt"), &variables)?;
        let (html, _) = render(&self.file("html"), &variables)?;
        Ok(Mail { subject: subject.trim().to_owned(), text, html })
    }
}

fn variables(
    practice: String,
    clinician: Option<String>,
    when: Option<String>,
    link: Option<String>,
    phone: Option<String>,
) -> Value {
    let mut map: BTreeMap<&'static str, Value> = BTreeMap::new();
    map.insert("practice", practice.into());
    map.insert("stop", STOP.into());
    for (name, value) in [("clinician", clinician), ("when", when), ("link", link), ("phone", phone)] {
        if let Some(value) = value {
            map.insert(name, value.into());
        }
    }
    Value::from(map)
}

/// The text and, where the template has one, its subject.
fn render(name: &str, variables: &Value) -> Result<(String, String)> {
    // The engine's own words may repeat a value; ours do not.
    let broken = |_| Error::Inside(format!("the template {name} cannot be filled"));
    let mut captured =
        TEMPLATES.get_template(name).and_then(|t| t.render_captured(variables.clone())).map_err(broken)?;
    let subject = if name.ends_with(".txt") {
        captured.with_state_mut(|state| state.render_block("subject")).map_err(broken)?
    } else {
        String::new()
    };
    Ok((captured.into_output().trim().to_owned(), subject))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use time::macros::datetime;

    const AT: Timestamp = datetime!(2026-11-21 15:00 UTC);
    const LINK: &str = "https://visits.example.org/m/AbCdEfGhJkL";

    fn sender(name: &str) -> Sender {
        Sender {
            name: name.to_owned(),
            alias: None,
            phone: "+1 555 0100".to_owned(),
            is_sensitive: false,
            names_clinician: true,
        }
    }

    fn words<'a>(template: Template, sender: &'a Sender) -> Words<'a> {
        Words {
            template,
            locale: "en-US",
            sender,
            clinician: Some("Dr. Maria Alvarez"),
            when: Some((AT, "America/New_York")),
            link: Some(LINK),
        }
    }

    /// The linter: whoever adds a variable to a template, or a file to a language, meets it here.
    #[test]
    fn p_01_templates_use_allowed_variables_and_neutral_words_alone() {
        for locale in LOCALES {
            assert_eq!(locale.files.len(), 2 + 3 * Template::ALL.len(), "{}", locale.name);
            for (name, text) in locale.files {
                let used = TEMPLATES.get_template(name).unwrap().undeclared_variables(true);
                for variable in &used {
                    assert!(ALLOWED.contains(&variable.as_str()), "{name} uses {variable}");
                }
                let lower = text.to_lowercase();
                for word in [
                    "patient",
                    "telehealth",
                    "therapy",
                    "diagnos",
                    "treatment",
                    "doctor",
                    "birth",
                    "reason",
                    "http",
                    "<img",
                    "src=",
                ] {
                    assert!(!lower.contains(word), "{name} says {word}");
                }
                if name.ends_with(".sms") {
                    assert!(used.contains("practice") && used.contains("stop"), "{name}");
                    assert_eq!(used.contains("link"), !name.contains("cancelled"), "{name}");
                }
            }
        }
    }

    #[test]
    fn a_message_names_the_practice_the_first_name_and_the_local_time() {
        let sender = sender("Our practice");
        let text = words(Template::Link, &sender).sms().unwrap();
        assert!(
            text.starts_with("Our practice: your visit with Dr. Maria is Sat, Nov 21 at 10:00 AM EST. Open: "),
            "{text}"
        );
        let text = words(Template::Reminder, &sender).sms().unwrap();
        assert_eq!(
            text,
            "Our practice: reminder of your visit on Sat, Nov 21 at 10:00 AM EST. Link: \
             https://visits.example.org/m/AbCdEfGhJkL Help: +1 555 0100. Reply STOP to opt out.",
            "with the clinician it would be two messages"
        );
        let mail = words(Template::Link, &sender).mail().unwrap();
        assert_eq!(mail.subject, "Your link for Our practice");
        assert!(mail.text.contains("Your visit with Dr. Maria is Sat, Nov 21 at 10:00 AM EST."), "{}", mail.text);
        assert!(
            mail.html.contains("with Dr. Maria") && !mail.html.contains("Alvarez") && !mail.text.contains("Alvarez")
        );
        let untimed = Words { when: None, ..words(Template::Link, &sender) };
        assert!(untimed.sms().unwrap().contains("your visit with Dr. Maria is about to begin. Open: "));
    }

    #[test]
    fn a_sensitive_practice_names_nobody() {
        let mut sender = Sender { is_sensitive: true, ..sender("Harbor Addiction Psychiatry") };
        for template in Template::ALL {
            let words = words(*template, &sender);
            let mail = words.mail().unwrap();
            for text in [words.sms().unwrap(), mail.subject, mail.text, mail.html] {
                assert!(!text.contains("Maria") && !text.contains("Harbor"), "{text}");
            }
        }
        sender.alias = Some("HAP Office".to_owned());
        assert!(words(Template::Initial, &sender).sms().unwrap().starts_with("HAP Office: "));
    }

    #[test]
    fn names_cannot_become_markup_or_header_lines() {
        let sender = sender("A <b>& \"B\"\r\nBcc: x@example.org");
        let mail = words(Template::Initial, &sender).mail().unwrap();
        assert!(!mail.html.contains("<b>&"), "{}", mail.html);
        assert!(!mail.subject.contains('\n') && !mail.subject.contains('\r'), "{}", mail.subject);
        assert!(!words(Template::Initial, &sender).sms().unwrap().contains('\n'));
    }

    #[test]
    fn days_are_those_of_the_place() {
        let (evening, night) = (datetime!(2026-11-22 03:00 UTC), datetime!(2026-11-22 06:00 UTC));
        assert!(!is_same_day(evening, night, "America/New_York"));
        assert!(is_same_day(evening, night, "UTC"));
        assert_eq!(day_began(night, "America/New_York"), datetime!(2026-11-22 05:00 UTC));
        assert!(is_zone("Europe/Vienna") && !is_zone("Mars/Olympus") && !is_zone("../etc/passwd"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn p_03_a_text_message_fits_160_places_whatever_the_names(
            name in "\\PC{1,200}",
            clinician in "\\PC{1,100}",
            phone in "[+0-9 ()]{3,40}",
            host in 0_usize..=super::super::config::LONGEST_ORIGIN - 8,
            template in 0..Template::ALL.len(),
            timed in any::<bool>(),
        ) {
            let sender = Sender { phone, ..sender(&name) };
            let link = format!("https://{}/m/AbCdEfGhJkL", "h".repeat(host));
            let mut words = words(Template::ALL[template], &sender);
            words.clinician = Some(&clinician);
            words.link = Some(&link);
            words.when = words.when.filter(|_| timed);
            let text = words.sms().unwrap();
            prop_assert!(gsm::places(&text).is_some_and(|places| places <= 160), "{}", text);
            prop_assert!(text.ends_with("Reply STOP to opt out."), "{}", text);
            prop_assert!(words.template == Template::Cancelled || text.contains(&link), "{}", text);
        }
    }
}

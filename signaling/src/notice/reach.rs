//! Phone numbers and e-mail addresses: how they are read, masked and found again.

use wire::Redacted;

use crate::auth::keys::Keys;
use crate::notice::Medium;

/// A phone number in E.164: `+` and 8 to 15 digits, the first not a zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phone(Redacted<String>);

impl Phone {
    /// Reads a number; blanks, hyphens, dots and brackets between its digits are taken out.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.trim().strip_prefix('+')?;
        if digits.len() > 32 || !digits.chars().all(|c| c.is_ascii_digit() || matches!(c, ' ' | '-' | '.' | '(' | ')'))
        {
            return None;
        }
        let digits: String = digits.chars().filter(char::is_ascii_digit).collect();
        let fits = (8..=15).contains(&digits.len()) && !digits.starts_with('0');
        fits.then(|| Self(Redacted::new(format!("+{digits}"))))
    }

    /// `+15551230100`.
    #[must_use]
    pub fn reveal(&self) -> &str {
        self.0.reveal()
    }

    /// `***-***-0100`: the last four digits alone.
    #[must_use]
    pub fn mask(&self) -> String {
        let number = self.reveal();
        format!("***-***-{}", number.get(number.len().saturating_sub(4)..).unwrap_or_default())
    }
}

/// An e-mail address, as a mail server takes it in a command: printable ASCII, one `@`, at most 254 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Email(Redacted<String>);

impl Email {
    /// Reads an address. Quoted local parts and address literals are not taken.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (local, domain) = text.split_once('@')?;
        let is_local = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c);
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let fits = text.len() <= 254
            && (1..=64).contains(&local.len())
            && local.chars().all(is_local)
            && !local.starts_with('.')
            && !local.ends_with('.')
            && !local.contains("..")
            && domain.contains('.')
            && domain.split('.').all(is_label);
        fits.then(|| Self(Redacted::new(format!("{local}@{}", domain.to_ascii_lowercase()))))
    }

    /// `jane@example.com`.
    #[must_use]
    pub fn reveal(&self) -> &str {
        self.0.reveal()
    }

    /// `j***@example.com`: the first letter and the domain.
    #[must_use]
    pub fn mask(&self) -> String {
        let (local, domain) = self.reveal().split_once('@').unwrap_or_default();
        format!("{}***@{domain}", local.chars().next().unwrap_or('*'))
    }
}

/// The keyed hash under which a destination is counted and found. Letters' case makes no difference.
#[must_use]
pub fn destination_hash(keys: &Keys, medium: Medium, destination: &str) -> [u8; 32] {
    let purpose: &'static [u8] = match medium {
        Medium::Sms => b"anteroom notice phone v1\0",
        Medium::Email => b"anteroom notice email v1\0",
    };
    keys.tag(purpose, destination.to_ascii_lowercase().as_bytes())
}

/// What a person answered to a message, where the first word is one that phones know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// No more messages.
    Stop,
    /// Messages again.
    Start,
}

/// Reads the words that phone companies have agreed on. Anything else is no answer: it is neither stored nor looked at.
#[must_use]
pub fn parse_answer(text: &str) -> Option<Answer> {
    let word = text.trim().trim_end_matches(['.', '!']).to_ascii_uppercase();
    match word.as_str() {
        "STOP" | "STOPALL" | "STOP ALL" | "UNSUBSCRIBE" | "CANCEL" | "END" | "QUIT" | "OPTOUT" | "OPT OUT"
        | "REVOKE" => Some(Answer::Stop),
        "START" | "UNSTOP" | "OPTIN" | "OPT IN" => Some(Answer::Start),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p_05_masks_show_four_digits_or_one_letter() {
        let phone = Phone::parse("+1 (555) 123-1234").unwrap();
        assert_eq!((phone.reveal(), phone.mask().as_str()), ("+15551231234", "***-***-1234"));
        let email = Email::parse("jane.roe@Example.com").unwrap();
        assert_eq!((email.reveal(), email.mask().as_str()), ("jane.roe@example.com", "j***@example.com"));
        assert!(!format!("{phone:?} {email:?}").contains("555"));
    }

    #[test]
    fn what_is_no_number_or_address_is_refused() {
        for bad in [
            "",
            "+",
            "5551231234",
            "+0555123",
            "+1234567",
            "+1234567890123456",
            "+1555123123x",
            "+1;555",
            "+1\n5551231234",
        ] {
            assert_eq!(Phone::parse(bad), None, "{bad}");
        }
        for bad in [
            "",
            "@",
            "a@b",
            "a b@example.com",
            "a@example.com,b@example.com",
            "a@@example.com",
            "a\r\nBcc: b@example.com",
            "<a@example.com>",
            ".a@example.com",
            "a..b@example.com",
            "a@-example.com",
            "a@example..com",
            "a\"@example.com",
        ] {
            assert_eq!(Email::parse(bad), None, "{bad}");
        }
        assert_eq!(Email::parse(&format!("{}@example.com", "a".repeat(65))), None);
    }

    #[test]
    fn answers_are_whole_words() {
        assert_eq!(parse_answer(" stop. "), Some(Answer::Stop));
        assert_eq!(parse_answer("Unstop"), Some(Answer::Start));
        assert_eq!(parse_answer("please do not stop"), None);
        assert_eq!(parse_answer(&"STOP".repeat(1000)), None);
    }
}

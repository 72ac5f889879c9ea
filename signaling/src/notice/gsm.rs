//! The alphabet of text messages (3GPP TS 23.038): 160 of its places fit one message, and one character outside it would leave 70.

/// Places of one message.
pub(crate) const PLACES: usize = 160;

/// Characters that take one place.
const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";

/// Characters that take two.
const EXTENDED: &str = "^{}\\[~]|€";

/// How many places a text takes; none when a character is not in the alphabet.
pub(crate) fn places(text: &str) -> Option<usize> {
    text.chars()
        .map(|c| if BASIC.contains(c) { Some(1) } else { EXTENDED.contains(c).then_some(2) })
        .try_fold(0, |sum, one| Some(sum + one?))
}

/// A name or number in this alphabet, in one line: other letters become their nearest Latin ones.
pub(crate) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || c.is_whitespace() {
            out.push(' ');
        } else if BASIC.contains(c) {
            out.push(c);
        } else {
            let near = deunicode::deunicode_char(c).unwrap_or_default();
            out.extend(near.chars().filter(|c| !c.is_control() && BASIC.contains(*c)));
        }
    }
    out.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The beginning of a text that takes at most so many places, cut at a blank where one is near.
pub(crate) fn cut(text: &str, most: usize) -> &str {
    if text.chars().count() <= most {
        return text;
    }
    let end = text.char_indices().nth(most).map_or(text.len(), |(at, _)| at);
    let head = text.get(..end).unwrap_or_default();
    match head.rsplit_once(' ') {
        Some((words, _)) if words.chars().count() * 2 >= most => words,
        _ => head,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_world_become_readable() {
        for (name, seen) in [
            ("Łukasz", "Lukasz"),
            ("Zoë's Clinic", "Zoe's Clinic"),
            ("José", "José"),
            ("Œuvre", "OEuvre"),
            ("a\u{202e}b\n c", "ab c"),
        ] {
            assert_eq!(plain(name), seen);
        }
        assert!(!plain("北京诊所").is_empty());
        assert_eq!(places("€"), Some(2));
        assert_eq!(places("ł"), None);
    }

    #[test]
    fn a_cut_keeps_whole_words_where_it_can() {
        assert_eq!(cut("Riverside Family Practice", 20), "Riverside Family");
        assert_eq!(cut("Donaudampfschifffahrt", 5), "Donau");
        assert_eq!(cut("short", 20), "short");
    }
}

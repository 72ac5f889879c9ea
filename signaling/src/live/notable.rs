//! What happens in a Room that somebody outside may want to know: who of a translated face comes, goes, and shows a picture.

use std::collections::BTreeMap;
use std::sync::Arc;

use time::OffsetDateTime;
use wire::ParticipantId;

use crate::live::face::{Gallery, Present};

/// One such thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Happening {
    /// Whose: the id of their [`Alias`](crate::live::face::Alias).
    pub(crate) id: Arc<str>,
    /// Of what they share, not of themselves.
    pub(crate) is_share: bool,
    pub(crate) what: What,
    pub(crate) at: OffsetDateTime,
}

/// What it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// Their credential was accepted.
    Authorized,
    /// Their media has been agreed upon, and they are inside.
    Joined,
    /// They went.
    Left,
    /// Their connection broke, and they did not come back in time.
    Dropped,
    PictureOn,
    PictureOff,
}

/// Who was known to be here, and what they showed. A connection that breaks and comes back in time is no news.
#[derive(Debug, Default)]
pub(crate) struct Noted(BTreeMap<(ParticipantId, bool), Entry>);

#[derive(Debug)]
struct Entry {
    id: Arc<str>,
    number: u32,
    has_picture: bool,
}

impl Noted {
    /// Compares with who is here now. `dropped` are the numbers of connections that ended without a goodbye.
    pub(crate) fn compare(
        &mut self,
        present: &[&Present],
        gallery: &Gallery,
        dropped: &[u32],
        at: OffsetDateTime,
    ) -> Vec<Happening> {
        let mut news = Vec::new();
        let is_here = |key: &(ParticipantId, bool)| present.iter().any(|p| (p.who, p.is_share) == *key);
        // What somebody shares goes before they do.
        for (key, entry) in self.0.iter().rev().filter(|(key, _)| !is_here(key)) {
            if entry.has_picture {
                news.push(entry.happening(key.1, What::PictureOff, at));
            }
            let what = if dropped.contains(&entry.number) { What::Dropped } else { What::Left };
            news.push(entry.happening(key.1, what, at));
        }
        self.0.retain(|key, _| is_here(key));
        for one in present {
            let key = (one.who, one.is_share);
            let entry = self.0.entry(key).or_insert_with(|| {
                let entry = Entry { id: Arc::clone(&one.alias.id), number: one.number, has_picture: false };
                news.push(entry.happening(one.is_share, What::Joined, at));
                entry
            });
            entry.number = one.number;
            let has_picture = gallery.pictures.iter().any(|picture| (picture.who, picture.is_share) == key);
            if has_picture != entry.has_picture {
                entry.has_picture = has_picture;
                let what = if has_picture { What::PictureOn } else { What::PictureOff };
                news.push(entry.happening(one.is_share, what, at));
            }
        }
        news
    }
}

impl Entry {
    fn happening(&self, is_share: bool, what: What, at: OffsetDateTime) -> Happening {
        Happening { id: Arc::clone(&self.id), is_share, what, at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::face::{Alias, Picture};
    use wire::{Redacted, TrackId};

    fn alias(id: &str) -> Alias {
        Alias { id: id.into(), name: Redacted::new("Somebody".into()) }
    }

    fn present(who: ParticipantId, number: u32, is_share: bool) -> Present {
        let id = if is_share { "ann#content" } else { "ann" };
        Present { number, who, alias: alias(id), is_share, is_muted: false }
    }

    fn gallery(who: ParticipantId, shares: &[bool]) -> Gallery {
        let picture = |is_share: &bool| Picture {
            who,
            alias: alias("ann"),
            is_share: *is_share,
            is_held: false,
            group: 1,
            track: TrackId::random(),
            streams: Vec::new(),
        };
        Gallery { pictures: shares.iter().map(picture).collect(), ..Gallery::default() }
    }

    fn words(news: &[Happening]) -> Vec<(&str, What)> {
        news.iter().map(|h| (if h.is_share { "share" } else { "self" }, h.what)).collect()
    }

    #[test]
    fn coming_showing_sharing_and_going_are_each_told_once() {
        use What::*;
        let (who, at, mut noted) = (ParticipantId::random(), OffsetDateTime::UNIX_EPOCH, Noted::default());
        let (main, share) = (present(who, 1, false), present(who, 2, true));
        let nothing = Gallery::default();
        assert_eq!(words(&noted.compare(&[&main], &nothing, &[], at)), [("self", Joined)]);
        assert!(noted.compare(&[&main], &nothing, &[], at).is_empty());
        assert_eq!(words(&noted.compare(&[&main], &gallery(who, &[false]), &[], at)), [("self", PictureOn)]);
        let both = gallery(who, &[false, true]);
        let news = noted.compare(&[&main, &share], &both, &[], at);
        assert_eq!(words(&news), [("share", Joined), ("share", PictureOn)]);
        assert_eq!(&*news[0].id, "ann#content");
        // The same page on a new connection is no news, and its new number is the one that counts.
        let again = present(who, 7, false);
        assert!(noted.compare(&[&again, &share], &both, &[1], at).is_empty());
        let news = noted.compare(&[], &nothing, &[7, 2], at);
        let all = [("share", PictureOff), ("share", Dropped), ("self", PictureOff), ("self", Dropped)];
        assert_eq!(words(&news), all);
        assert!(noted.compare(&[], &nothing, &[], at).is_empty());
    }

    #[test]
    fn a_goodbye_is_told_from_a_lost_connection() {
        let (who, at, mut noted) = (ParticipantId::random(), OffsetDateTime::UNIX_EPOCH, Noted::default());
        let main = present(who, 3, false);
        noted.compare(&[&main], &Gallery::default(), &[], at);
        assert_eq!(words(&noted.compare(&[], &Gallery::default(), &[9], at)), [("self", What::Left)]);
    }
}

//! What a capture that is to be delivered has to know beside the media: who came and went, whose picture is on, who is muted, who
//! speaks, and what people write to each other. Notes pass through the media node, so that each has its place among the media.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use wire::control::Command;
use wire::delivery::Note;
use wire::{ParticipantId, Redacted};

use super::{Outside, RoomState};
use crate::live::face::{Post, Present};

/// What was noted last of one capture, and what is still to be handed over.
#[derive(Debug, Default)]
pub(super) struct Journaled {
    /// Everybody present and what they share, by what they are called; with the microphone off or on.
    present: BTreeMap<String, bool>,
    pictures: BTreeSet<String>,
    /// Emptied after each thing that the Room does, so it holds what one of them brings at most.
    waiting: VecDeque<Note>,
}

impl Journaled {
    /// Another capture begins, or none: everything is news to the next one.
    pub(super) fn begin_anew(&mut self) {
        *self = Self::default();
    }

    fn change(&mut self, present: &[Present], pictures: BTreeSet<String>) {
        let mut now: BTreeMap<String, bool> = BTreeMap::new();
        for one in present {
            let alias = one.alias.id.to_string();
            now.insert(alias.clone(), one.is_muted);
            match self.present.get(&alias) {
                None => {
                    self.waiting.push_back(Note::Joined {
                        participant: one.who,
                        alias: alias.clone(),
                        name: Redacted::new(one.alias.name.reveal().to_string()),
                        is_share: one.is_share,
                    });
                    if one.is_muted && !one.is_share {
                        self.waiting.push_back(Note::Muted { alias, is_muted: true });
                    }
                }
                Some(was_muted) if *was_muted != one.is_muted && !one.is_share => {
                    self.waiting.push_back(Note::Muted { alias, is_muted: one.is_muted });
                }
                Some(_) => {}
            }
        }
        let off = self.pictures.difference(&pictures).map(|alias| Note::PictureOff { alias: alias.clone() });
        let on = pictures.difference(&self.pictures).map(|alias| Note::PictureOn { alias: alias.clone() });
        self.waiting.extend(off.chain(on));
        let gone = self.present.keys().filter(|alias| !now.contains_key(*alias));
        self.waiting.extend(gone.map(|alias| Note::Left { alias: alias.clone() }));
        (self.present, self.pictures) = (now, pictures);
    }
}

impl<O: Outside> RoomState<O> {
    /// Notes what changed since the last time, while a capture is to be delivered.
    pub(super) fn note_changes(&mut self) {
        if self.capture.order().is_none() {
            return;
        }
        let gallery = self.to_gallery();
        let present = self.to_present(&gallery);
        let pictures = gallery.pictures.iter().map(|picture| picture.alias.id.to_string()).collect();
        self.journaled.change(&present, pictures);
    }

    pub(super) fn note_speaking(&mut self, participant: Option<ParticipantId>) {
        if self.capture.order().is_some() {
            self.journaled.waiting.push_back(Note::Speaking { participant });
        }
    }

    pub(super) fn note_posts(&mut self, posts: &[Post]) {
        if self.capture.order().is_none() {
            return;
        }
        self.journaled.waiting.extend(posts.iter().map(|post| Note::Posted {
            alias: post.from.id.to_string(),
            topic: Redacted::new(post.draft.topic.clone()),
            body: Redacted::new(String::from_utf8_lossy(post.draft.body.reveal()).into_owned()),
        }));
    }

    /// Hands what waits to the media node.
    pub(crate) async fn hand_over_notes(&mut self) {
        let Some(recording) = self.capture.recording() else { return };
        while let Some(note) = self.journaled.waiting.pop_front() {
            match serde_json::to_string(&note) {
                Ok(note) => {
                    let note = Redacted::new(note);
                    self.try_command(Command::Note { room: self.facts.room, recording, note }).await;
                }
                // Plain texts and ids always have a form in JSON.
                Err(error) => tracing::error!(%error, "a note has no form"),
            }
        }
    }
}

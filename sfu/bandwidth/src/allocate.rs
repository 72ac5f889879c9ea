//! Divides what a path carries: sound first, then screens, then faces. Less at once, more late.

mod divide;

use std::time::{Duration, Instant};

use crate::Bitrate;
use divide::{Pick, divide};

/// Time between two divisions while nothing happens.
const INTERVAL: Duration = Duration::from_millis(200);
/// A target below this share of what was given out is acted on at once.
const ALARM: f64 = 0.9;
/// A step up must leave this much room, for this long.
const ROOM: f64 = 1.15;
const HOLD: Duration = Duration::from_secs(2);
/// Time between two steps up of one track.
const SPACING: Duration = Duration::from_secs(3);
/// A new subscription finds its place faster.
const YOUTH: Duration = Duration::from_secs(10);
const YOUNG_ROOM: f64 = 1.05;
const YOUNG_HOLD: Duration = Duration::from_millis(300);
/// A paused track comes back with this much over its floor, for this long.
const RESUME_ROOM: f64 = 1.3;
const RESUME_HOLD: Duration = Duration::from_secs(3);
/// With this much over its floor there is no doubt: the way is back.
const PLENTY: f64 = 4.0;
const PLENTY_HOLD: Duration = Duration::from_millis(500);
/// A step up that had to be taken back within this time doubles the wait for the next.
const REGRET: Duration = Duration::from_secs(10);
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// A single encoding is first asked to shrink, and paused when that was not enough for so long.
const PATIENCE: Duration = Duration::from_secs(2);
/// No keyframe of a larger layer while packets wait for longer than this.
const SHORT_QUEUE: Duration = Duration::from_millis(50);
/// Kept for RTCP and small repairs.
const RESERVE: f64 = 0.03;
/// Most of the loss that repairs are kept for.
const MOST_LOSS: f64 = 0.25;
/// Most claims that are looked at: the others are paused. More m-lines than one offer may have.
const CLAIMS: usize = 64;

/// What a picture is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// A shared screen: served before any face gets more than its lowest.
    Screen,
    /// A face.
    Face,
}

/// How much a picture matters to the viewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Emphasis {
    /// Shown small: its lowest step is enough.
    Thumbnail,
    /// One of several.
    Plain,
    /// Of who speaks.
    Speaker,
    /// Chosen by the viewer.
    Pinned,
}

/// One step of a ladder, from cheap to dear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rung {
    /// The caller's name for it.
    pub id: u16,
    /// What it costs.
    pub rate: Bitrate,
    /// What it is worth: pixels, weighed by the share of frames.
    pub worth: u64,
}

/// Of what a claim can be made of.
#[derive(Clone, Copy, Debug)]
pub enum Shape<'a> {
    /// One of these, cheapest first. None known yet: the floor is kept free for it.
    Ladder(&'a [Rung]),
    /// One encoding whose publisher can be told a rate.
    Elastic {
        /// More is of no use.
        most: Bitrate,
        /// It does not become smaller than this, because of another receiver; zero when this one decides alone.
        least: Bitrate,
    },
}

/// One picture that the receiver wants, in the order of who came first.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// Names it from one division to the next.
    pub key: u64,
    /// What it is.
    pub class: Class,
    /// How much it matters.
    pub emphasis: Emphasis,
    /// What it can be made of.
    pub shape: Shape<'a>,
}

impl Claim<'_> {
    /// Below this a picture is not worth sending.
    const fn floor(&self) -> Bitrate {
        match (self.class, self.emphasis) {
            (Class::Screen, _) => Bitrate::kbps(100),
            (Class::Face, Emphasis::Thumbnail) => Bitrate::kbps(50),
            (Class::Face, _) => Bitrate::kbps(80),
        }
    }

    /// What it costs at least while it flows.
    fn lowest(&self) -> Bitrate {
        match self.shape {
            Shape::Ladder(ladder) => ladder.first().map_or(self.floor(), |rung| rung.rate.max(self.floor())),
            Shape::Elastic { least, .. } => least.max(self.floor()),
        }
    }

    /// Its publisher can be asked for less than what does not fit.
    fn can_shrink(&self) -> bool {
        matches!(self.shape, Shape::Elastic { least, .. } if least <= self.floor())
    }
}

/// What there is to divide.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// What the path carries.
    pub target: Bitrate,
    /// Sound, at its measured rate with headers.
    pub sound: Bitrate,
    /// Share of packets lost, 0 to 1: their repairs need room.
    pub loss: f32,
    /// How long packets wait before they leave.
    pub queue: Duration,
    /// The estimate was left alone for the last seconds.
    pub is_calm: bool,
    /// What pictures may have of their share: below 1 while the estimator tests whether loss answers to the rate.
    pub video_scale: f64,
}

impl Budget {
    /// What pictures may take, repairs aside.
    fn video(&self) -> Bitrate {
        let spare = self.target.saturating_sub(self.sound).saturating_sub(self.target.scale(RESERVE));
        let loss = if self.loss.is_finite() { f64::from(self.loss).clamp(0.0, MOST_LOSS) } else { MOST_LOSS };
        let scale = if self.video_scale.is_finite() { self.video_scale.clamp(0.0, 1.0) } else { 1.0 };
        spare.scale((1.0 - loss) * scale)
    }
}

/// What a claim got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// Nothing: the path cannot carry it.
    Paused,
    /// This rung of its ladder; `None` while its ladder is not known: whatever is lowest.
    Rung(Option<u16>),
    /// One encoding at this rate.
    Elastic(Bitrate),
}

/// One claim's share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// The claim's key.
    pub key: u64,
    /// What it got.
    pub grant: Grant,
    /// What that costs.
    pub rate: Bitrate,
}

/// What is remembered of a claim.
#[derive(Clone, Copy, Debug)]
struct Held {
    key: u64,
    since: Instant,
    /// `None` is paused.
    pick: Option<Pick>,
    /// Never had anything yet.
    is_fresh: bool,
    stepped: Option<Instant>,
    /// Since when more would fit.
    ready: Option<Instant>,
    /// Since when its floor does not fit.
    starving: Option<Instant>,
    wait: Duration,
}

impl Held {
    const fn new(key: u64, now: Instant) -> Self {
        Self {
            key,
            since: now,
            pick: None,
            is_fresh: true,
            stepped: None,
            ready: None,
            starving: None,
            wait: Duration::ZERO,
        }
    }

    fn is_young(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) < YOUTH
    }

    /// It gets less, because there is less.
    fn lower(&mut self, pick: Option<Pick>, now: Instant) {
        if self.stepped.is_some_and(|at| now.saturating_duration_since(at) < REGRET) {
            self.wait = (self.wait.max(HOLD) * 2).min(LONGEST_WAIT);
        }
        self.stepped = None;
        self.ready = None;
        self.pick = pick;
    }
}

/// The division of one receiver's downlink, and what it remembers so that pictures do not flicker.
#[derive(Debug)]
pub struct Allocator {
    held: Vec<Held>,
    granted: Vec<Granted>,
    next: Instant,
    allocated: Bitrate,
    wanting: Option<Bitrate>,
}

impl Allocator {
    /// Nothing is given out yet.
    #[must_use]
    pub const fn new(now: Instant) -> Self {
        Self { held: Vec::new(), granted: Vec::new(), next: now, allocated: Bitrate::ZERO, wanting: None }
    }

    /// Makes the next look at [`Self::is_due`] say yes: a claim came, went or changed.
    pub const fn touch(&mut self, now: Instant) {
        self.next = now;
    }

    /// When [`Self::is_due`] says yes at the latest.
    #[must_use]
    pub const fn next(&self) -> Instant {
        self.next
    }

    /// True when [`Self::allocate`] should be called.
    #[must_use]
    pub fn is_due(&self, now: Instant, target: Bitrate, sound: Bitrate) -> bool {
        now >= self.next || target < (self.allocated + sound).scale(ALARM)
    }

    /// What all claims got in the last division.
    #[must_use]
    pub const fn allocated(&self) -> Bitrate {
        self.allocated
    }

    /// The total at which the next step of somebody would fit; `None` when everybody has all there is.
    #[must_use]
    pub const fn next_step(&self) -> Option<Bitrate> {
        self.wanting
    }

    /// Divides. Never gives out more than the target leaves beside sound.
    pub fn allocate(&mut self, now: Instant, budget: &Budget, claims: &[Claim<'_>]) -> &[Granted] {
        let claims = claims.get(..CLAIMS).unwrap_or(claims);
        self.next = now + INTERVAL;
        self.meet(now, claims);
        let video = budget.video();
        self.lower(now, budget, video, claims);
        self.raise(now, budget, video, claims);
        self.grant(video, claims);
        &self.granted
    }

    /// Brings what is remembered in line with the claims of today; both have the same order after it.
    fn meet(&mut self, now: Instant, claims: &[Claim<'_>]) {
        let mut held = Vec::with_capacity(claims.len());
        for claim in claims {
            let known = self.held.iter().find(|held| held.key == claim.key).copied();
            let mut one = known.unwrap_or_else(|| Held::new(claim.key, now));
            one.pick = one.pick.map(|pick| pick.on(claim));
            held.push(one);
        }
        self.held = held;
    }

    fn total(&self, claims: &[Claim<'_>]) -> Bitrate {
        self.held.iter().zip(claims).filter_map(|(held, claim)| Some(held.pick?.cost(claim))).sum()
    }

    /// Takes away at once what no longer fits.
    fn lower(&mut self, now: Instant, budget: &Budget, video: Bitrate, claims: &[Claim<'_>]) {
        // Measured rates breathe: the reserve is there for it.
        let most = video.scale(1.05).min(budget.target.saturating_sub(budget.sound));
        let total = self.total(claims);
        let fits = total <= most;
        if fits {
            for held in &mut self.held {
                held.starving = None;
            }
            return;
        }
        let plain = divide(video, claims);
        for ((held, claim), plain) in self.held.iter_mut().zip(claims).zip(plain) {
            let Some(pick) = held.pick else { continue };
            match plain {
                Some(less) if less.cost(claim) < pick.cost(claim) => held.lower(Some(less), now),
                Some(_) => held.starving = None,
                None if claim.can_shrink() => {
                    // Its publisher is asked for less first.
                    let since = *held.starving.get_or_insert(now);
                    if now.saturating_duration_since(since) >= PATIENCE {
                        held.starving = None;
                        held.lower(None, now);
                    }
                }
                None => held.lower(None, now),
            }
        }
    }

    /// Gives one claim one step more, when there was room for it for long enough.
    fn raise(&mut self, now: Instant, budget: &Budget, video: Bitrate, claims: &[Claim<'_>]) {
        let plain = divide(video, claims);
        let settled = (video.scale(1.0 / ROOM), divide(video.scale(1.0 / ROOM), claims));
        let young = (video.scale(1.0 / YOUNG_ROOM), divide(video.scale(1.0 / YOUNG_ROOM), claims));
        let mut is_done = false;
        for index in divide::order(claims) {
            let (Some(claim), Some(held)) = (claims.get(index), self.held.get(index).copied()) else { continue };
            let is_young = held.is_young(now);
            if held.is_fresh && is_young {
                // What just came takes its place at once, if those behind it can make room.
                let lowest = plain.get(index).copied().flatten().map(|pick| pick.lowest(claim));
                let _taken =
                    plain.get(index).is_some_and(|pick| self.attempt(now, index, *pick, (video, &plain), claims))
                        || self.attempt(now, index, lowest, (video, &plain), claims);
                continue;
            }
            let (room, ideal) = if is_young { &young } else { &settled };
            let wanted = ideal.get(index).copied().flatten();
            let next = match held.pick {
                Some(pick) => wanted.filter(|wanted| pick.cost(claim) < wanted.cost(claim)).and(pick.next(claim)),
                None => {
                    let has_room =
                        |pick: &Pick| pick.cost(claim).scale(RESUME_ROOM) <= self.spare(video, index, claims);
                    wanted.map(|pick| pick.lowest(claim)).filter(has_room)
                }
            };
            let since = held.ready.unwrap_or(now);
            if let Some(place) = self.held.get_mut(index) {
                place.ready = next.map(|_| since);
            }
            if next.is_none() {
                continue;
            }
            let (hold, spacing) = match (held.pick, is_young) {
                (None, _) if self.spare(video, index, claims) >= claim.lowest().scale(PLENTY) => (PLENTY_HOLD, SPACING),
                // What was paused while the first probes were under way is not kept waiting for a mistake that nobody made.
                (None, true) => (YOUNG_HOLD, YOUNG_HOLD),
                (None, false) => (RESUME_HOLD, SPACING),
                (Some(_), true) => (YOUNG_HOLD, YOUNG_HOLD),
                (Some(_), false) => (HOLD, SPACING),
            };
            let is_spaced = held.stepped.is_none_or(|at| now.saturating_duration_since(at) >= spacing);
            let is_ripe = now.saturating_duration_since(since) >= hold.max(held.wait) && is_spaced;
            let is_quiet = (budget.is_calm || is_young) && budget.queue <= SHORT_QUEUE;
            if !is_done && is_ripe && is_quiet {
                is_done = self.attempt(now, index, next, (*room, ideal), claims);
            }
        }
        self.wanting = self.find_wanting(claims, budget);
    }

    /// What is left of the budget without this claim.
    fn spare(&self, video: Bitrate, without: usize, claims: &[Claim<'_>]) -> Bitrate {
        let others = self.held.iter().zip(claims).enumerate().filter(|(index, _)| *index != without);
        let taken = others.filter_map(|(_, (held, claim))| Some(held.pick?.cost(claim))).sum();
        video.saturating_sub(taken)
    }

    /// Gives this to one claim, if need be at the cost of those behind it, which step back to what they would have. Nothing
    /// changes when even that is not enough.
    fn attempt(
        &mut self,
        now: Instant,
        index: usize,
        pick: Option<Pick>,
        (most, ideal): (Bitrate, &[Option<Pick>]),
        claims: &[Claim<'_>],
    ) -> bool {
        if pick.is_none() {
            return false;
        }
        let before = self.held.clone();
        let Some(held) = self.held.get_mut(index) else { return false };
        held.pick = pick;
        held.stepped = (!held.is_fresh).then_some(now);
        held.is_fresh = false;
        held.ready = None;
        if self.total(claims) > most {
            let behind = divide::order(claims).into_iter().skip_while(|other| *other != index).skip(1);
            for other in behind {
                let (Some(held), Some(claim)) = (self.held.get_mut(other), claims.get(other)) else { continue };
                let Some(pick) = held.pick else { continue };
                let ideal = ideal.get(other).copied().flatten();
                if ideal.is_none_or(|ideal| ideal.cost(claim) < pick.cost(claim)) {
                    // Nothing to regret: it made room.
                    held.stepped = None;
                    held.lower(ideal, now);
                }
            }
        }
        let fits = self.total(claims) <= most;
        if !fits {
            self.held = before;
        }
        fits
    }

    /// Writes down who has what. Elastic ones share what the others leave.
    fn grant(&mut self, video: Bitrate, claims: &[Claim<'_>]) {
        let picks: Vec<Option<Pick>> = self.held.iter().map(|held| held.pick).collect();
        let rates = divide::share_elastic(video, claims, &picks);
        self.granted.clear();
        for ((claim, pick), rate) in claims.iter().zip(picks).zip(rates) {
            let (grant, rate) = match (pick, claim.shape) {
                (None, _) => (Grant::Paused, Bitrate::ZERO),
                (Some(_), Shape::Elastic { .. }) => (Grant::Elastic(rate), rate),
                (Some(pick), Shape::Ladder(ladder)) => {
                    (Grant::Rung(ladder.get(pick.rung).map(|rung| rung.id)), pick.cost(claim))
                }
            };
            self.granted.push(Granted { key: claim.key, grant, rate });
        }
        self.allocated = self.granted.iter().map(|granted| granted.rate).sum();
    }

    /// The smallest total target with which some claim would get its next step.
    fn find_wanting(&self, claims: &[Claim<'_>], budget: &Budget) -> Option<Bitrate> {
        let total = self.total(claims);
        let more = self.held.iter().zip(claims).filter_map(|(held, claim)| match held.pick {
            None => Some(claim.lowest().scale(RESUME_ROOM)),
            Some(_) if claim.emphasis == Emphasis::Thumbnail => None,
            Some(pick) => {
                let next = pick.next(claim)?;
                Some(next.cost(claim).saturating_sub(pick.cost(claim)))
            }
        });
        let reserve = budget.target.saturating_sub(budget.video());
        more.min().map(|more| (total + more).scale(ROOM) + reserve)
    }
}

#[cfg(test)]
mod tests;

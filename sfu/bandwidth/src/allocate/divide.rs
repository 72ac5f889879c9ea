//! The division itself, without memory: who gets what of a budget.

use super::{Claim, Class, Emphasis, Shape};
use crate::Bitrate;

/// Beside a screen a face that can shrink gets this share, and at least its floor.
const BESIDE_SCREEN: f64 = 0.15;

/// A rung of a claim's ladder; of an elastic claim, and while the ladder is unknown, the floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pick {
    pub(super) rung: usize,
    id: Option<u16>,
}

impl Pick {
    pub(super) const LOWEST: Self = Self { rung: 0, id: None };

    pub(super) fn cost(self, claim: &Claim<'_>) -> Bitrate {
        match claim.shape {
            Shape::Ladder(ladder) => ladder.get(self.rung).map_or(claim.floor(), |rung| rung.rate.max(claim.floor())),
            Shape::Elastic { .. } => claim.lowest(),
        }
    }

    /// The same rung on the ladder of today: by its name, else the dearest below it.
    pub(super) fn on(self, claim: &Claim<'_>) -> Self {
        let Shape::Ladder(ladder) = claim.shape else { return Self::LOWEST };
        let rung = match self.id {
            None => 0,
            Some(id) => {
                let exact = ladder.iter().position(|rung| rung.id == id);
                let below = || ladder.iter().rposition(|rung| rung.id < id);
                exact.or_else(below).unwrap_or_default()
            }
        };
        Self::at(rung, claim)
    }

    pub(super) fn next(self, claim: &Claim<'_>) -> Option<Self> {
        let Shape::Ladder(ladder) = claim.shape else { return None };
        ladder.get(self.rung + 1)?;
        Some(Self::at(self.rung + 1, claim))
    }

    pub(super) fn lowest(self, claim: &Claim<'_>) -> Self {
        Self::at(0, claim)
    }

    fn at(rung: usize, claim: &Claim<'_>) -> Self {
        let Shape::Ladder(ladder) = claim.shape else { return Self::LOWEST };
        Self { rung, id: ladder.get(rung).map(|rung| rung.id) }
    }
}

/// Who is served first: screens, then by emphasis, then who came first.
pub(super) fn order(claims: &[Claim<'_>]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..claims.len()).collect();
    order.sort_by_key(|index| {
        claims.get(*index).map(|claim| (claim.class == Class::Face, std::cmp::Reverse(claim.emphasis)))
    });
    order
}

const fn weight(emphasis: Emphasis) -> u64 {
    match emphasis {
        Emphasis::Thumbnail | Emphasis::Plain => 1,
        Emphasis::Speaker => 2,
        Emphasis::Pinned => 4,
    }
}

/// Everybody's lowest first, then screens up, then faces by what a step gains for its cost.
pub(super) fn divide(video: Bitrate, claims: &[Claim<'_>]) -> Vec<Option<Pick>> {
    let mut picks: Vec<Option<Pick>> = vec![None; claims.len()];
    let mut left = video;
    let order = order(claims);
    for index in &order {
        let (Some(claim), Some(place)) = (claims.get(*index), picks.get_mut(*index)) else { continue };
        let lowest = Pick::LOWEST.lowest(claim);
        let cost = lowest.cost(claim);
        if cost <= left {
            left = left.saturating_sub(cost);
            *place = Some(lowest);
        }
    }
    for index in &order {
        let (Some(claim), Some(place)) = (claims.get(*index), picks.get_mut(*index)) else { continue };
        while claim.class == Class::Screen
            && let Some(pick) = *place
            && let Some((next, more)) = step(pick, claim)
            && more <= left
        {
            left = left.saturating_sub(more);
            *place = Some(next);
        }
    }
    loop {
        let mut best: Option<(usize, Pick, Bitrate, u64)> = None;
        for index in &order {
            let (Some(claim), Some(Some(pick))) = (claims.get(*index), picks.get(*index).copied()) else { continue };
            if claim.class != Class::Face || claim.emphasis == Emphasis::Thumbnail {
                continue;
            }
            let Some((next, more)) = step(pick, claim).filter(|(_, more)| *more <= left) else { continue };
            let gain = gain(pick, next, claim, more);
            if best.is_none_or(|(_, _, _, other)| gain > other) {
                best = Some((*index, next, more, gain));
            }
        }
        let Some((index, next, more, _)) = best else { return picks };
        left = left.saturating_sub(more);
        if let Some(place) = picks.get_mut(index) {
            *place = Some(next);
        }
    }
}

fn step(pick: Pick, claim: &Claim<'_>) -> Option<(Pick, Bitrate)> {
    let next = pick.next(claim)?;
    Some((next, next.cost(claim).saturating_sub(pick.cost(claim))))
}

/// Worth for each kilobit, times the weight; a step that costs nothing is the best there is.
fn gain(pick: Pick, next: Pick, claim: &Claim<'_>, more: Bitrate) -> u64 {
    let Shape::Ladder(ladder) = claim.shape else { return 0 };
    let worth = |pick: Pick| ladder.get(pick.rung).map_or(0, |rung| rung.worth);
    let more_worth = worth(next).saturating_sub(worth(pick)).clamp(1, 1 << 32);
    more_worth.saturating_mul(1000 * weight(claim.emphasis)) / more.as_kbps().max(1)
}

/// What the elastic claims get beside the picks of the others. Zero for those that are paused or not elastic. What is over
/// the budget is taken from the elastic ones first: they are those who can give way at once.
pub(super) fn share_elastic(video: Bitrate, claims: &[Claim<'_>], picks: &[Option<Pick>]) -> Vec<Bitrate> {
    let mut rates = vec![Bitrate::ZERO; claims.len()];
    let ladders = claims.iter().zip(picks).filter(|(claim, _)| matches!(claim.shape, Shape::Ladder(_)));
    let mut left = video.saturating_sub(ladders.filter_map(|(claim, pick)| Some((*pick)?.cost(claim))).sum());
    let running = |index: &usize| {
        let claim = claims.get(*index)?;
        let Shape::Elastic { most, .. } = claim.shape else { return None };
        (*picks.get(*index)?)?;
        Some((claim, most.max(claim.lowest())))
    };
    let order = order(claims);
    let has_screen = order.iter().filter_map(running).any(|(claim, _)| claim.class == Class::Screen);
    let mut give = |index: usize, rate: Bitrate, left: &mut Bitrate| {
        let Some(place) = rates.get_mut(index) else { return };
        let rate = rate.min(*left);
        *place = *place + rate;
        *left = left.saturating_sub(rate);
    };
    // Floors first, in order of rank.
    for index in &order {
        if let Some((claim, _)) = running(index) {
            give(*index, claim.lowest(), &mut left);
        }
    }
    if has_screen {
        let faces: Vec<usize> = order
            .iter()
            .copied()
            .filter(|index| running(index).is_some_and(|(claim, _)| claim.class == Class::Face))
            .collect();
        let each = video.scale(BESIDE_SCREEN / (faces.len().max(1) as f64));
        for index in faces {
            if let Some((claim, most)) = running(&index) {
                give(index, each.min(most).saturating_sub(claim.lowest()), &mut left);
            }
        }
    }
    // The rest: screens first, then everybody by weight, as long as somebody can take more.
    for class in [Class::Screen, Class::Face] {
        let mut takers: Vec<usize> = order
            .iter()
            .copied()
            .filter(|index| running(index).is_some_and(|(claim, _)| claim.class == class))
            .collect();
        while !takers.is_empty() && left >= Bitrate::kbps(1) {
            let weights: u64 = takers.iter().filter_map(running).map(|(claim, _)| weight(claim.emphasis)).sum();
            let round = left;
            let before = takers.len();
            for index in &takers {
                let Some((claim, most)) = running(index) else { continue };
                let part = Bitrate::bps(round.as_bps() / weights.max(1) * weight(claim.emphasis));
                let room = most.saturating_sub(rates_of(&rates, *index));
                let rate = part.min(room).min(left);
                if let Some(place) = rates.get_mut(*index) {
                    *place = *place + rate;
                    left = left.saturating_sub(rate);
                }
            }
            takers.retain(|index| running(index).is_some_and(|(_, most)| rates_of(&rates, *index) < most));
            if takers.len() == before {
                break;
            }
        }
    }
    rates
}

fn rates_of(rates: &[Bitrate], index: usize) -> Bitrate {
    rates.get(index).copied().unwrap_or_default()
}

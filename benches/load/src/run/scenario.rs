//! The named scenarios: what is opened when, and what is measured.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::front::{Shape, Visit};
use super::media::Mix;
use super::process::Usage;
use super::report::{ChurnSample, JoinTimes, Memory, Report, Step, Times, Window};
use super::site::Site;
use super::{Ramp, RunConfig, RunError, Scenario};

/// Between the last change and a measurement. The generator sends its full rate from the first frame, which a server that begins
/// with a careful estimate paces for some seconds.
const SETTLE: Duration = Duration::from_secs(6);
/// How long those who have just joined are watched; and how long offers may take until everybody connects at once.
const AFTERMATH: Duration = Duration::from_secs(2);
/// Memory of connected, silent visits is looked at after this.
const IDLE: Duration = Duration::from_secs(1);
/// People in a group.
const GROUP: usize = 6;
/// A step of a ramp that fails is measured again so often before it counts: shared machines have bad moments.
const SECOND_CHANCES: usize = 2;
/// The bars of a step.
const MOST_LOSS: f64 = 0.001;
const MOST_DELAY_US: u64 = 5_000;
/// A server that pauses video under load has less to do; that must not count as serving more.
const LEAST_DELIVERED: f64 = 0.99;
/// How often churn is looked at.
const SAMPLE: Duration = Duration::from_secs(5);

fn shape(scenario: Scenario) -> Shape {
    let camera = scenario != Scenario::Audio;
    Shape {
        people: if scenario == Scenario::Group { GROUP } else { 2 },
        mix: Mix { voice: true, camera, screen: false },
        screen: scenario == Scenario::Screen,
        record: scenario == Scenario::Recording,
        // Replaced by the site's own.
        gate: tokio::sync::watch::channel(true).1,
    }
}

pub(super) async fn play(config: &RunConfig) -> Result<Report, RunError> {
    let mut site = Site::new(config, shape(config.scenario)).await?;
    let mut report = Report::new(config);
    let before = site.usage()?;
    match (config.scenario, config.ramp) {
        (Scenario::Churn, _) => churn(config, &mut site, &mut report).await?,
        (Scenario::Joins, _) => joins(config, &mut site, &mut report).await?,
        (Scenario::Overlap, _) => overlap(config, &mut site, &mut report).await?,
        (_, Some(ramp)) => climb(config, ramp, &mut site, &mut report).await?,
        (_, None) => steady(config, &mut site, &mut report, before).await?,
    }
    site.tell("leaving");
    site.close(0).await;
    site.tell("");
    report.failed = site.failed;
    report.join = JoinTimes::new(&site.marks());
    if site.held_media {
        report.join.answer_to_media_ms = Times::default();
        report.join.answer_to_media_served_ms = Times::default();
    }
    Ok(report)
}

/// Fails with the first reason there is when nothing came about.
fn need_some(site: &mut Site) -> Result<(), RunError> {
    if site.visits.is_empty() {
        return Err(site.first_failure.take().unwrap_or(RunError::Protocol("no visit came about")));
    }
    Ok(())
}

async fn steady(
    config: &RunConfig,
    site: &mut Site,
    report: &mut Report,
    before: Option<Usage>,
) -> Result<(), RunError> {
    // A recording only counts as running when media does.
    let hold = config.scenario != Scenario::Recording;
    site.held_media = hold;
    site.fleet.set_media(!hold);
    site.open(config.visits).await;
    need_some(site)?;
    tokio::time::sleep(IDLE).await;
    let idle = site.usage()?;
    site.fleet.set_media(true);
    tokio::time::sleep(SETTLE).await;
    report.window = Some(site.window(config.measure, "steady").await?);
    let active = site.usage()?;
    report.memory = before
        .zip(idle)
        .zip(active)
        .map(|((before, idle), active)| Memory::new(before, idle, active, site.visits.len()));
    Ok(())
}

fn is_good(window: &Window) -> bool {
    window.loss_before_repair < MOST_LOSS && window.delay_us.p99 < MOST_DELAY_US && window.delivered > LEAST_DELIVERED
}

/// Adds visits until a step fails, then looks between the last good and the first bad number.
async fn climb(config: &RunConfig, ramp: Ramp, site: &mut Site, report: &mut Report) -> Result<(), RunError> {
    let (mut good, mut bad) = (0, None);
    let mut wanted = ramp.from.max(1);
    let mut refinements = 2;
    loop {
        let failed_before = site.failed;
        site.close(wanted).await;
        site.open(wanted).await;
        need_some(site)?;
        tokio::time::sleep(SETTLE).await;
        let label = format!("{wanted} visits");
        let mut window = site.window(config.measure, &label).await?;
        for _ in 0..SECOND_CHANCES {
            if is_good(&window) {
                break;
            }
            window = site.window(config.measure, &label).await?;
        }
        let is_good = is_good(&window) && site.failed == failed_before;
        // The generator shares its core with nobody but signaling: near a whole core it is the one that cannot follow.
        let generator_is_full = window.generator_cpu > 0.95;
        report.steps.push(Step { window, good: is_good, generator_is_full });
        if is_good {
            good = wanted;
        } else {
            bad = Some(wanted);
        }
        let next = match bad {
            None if wanted >= ramp.most => break,
            None => (wanted + ramp.step).min(ramp.most),
            Some(bad) if refinements > 0 && bad - good > ramp.step / 4 + 1 => {
                refinements -= 1;
                good + (bad - good) / 2
            }
            Some(_) => break,
        };
        wanted = next;
    }
    report.knee = Some(good);
    report.knee_is_lower_bound = bad.is_none() || report.steps.iter().any(|step| !step.good && step.generator_is_full);
    report.steps.sort_by_key(|step| step.window.visits);
    if !ramp.quarters {
        return Ok(());
    }
    // Measured anew, one after the other: the steps above are too few near the knee, and some stand for a second try.
    for quarter in 1..=4 {
        let wanted = good * quarter / 4;
        if wanted == 0 {
            continue;
        }
        site.close(wanted).await;
        site.open(wanted).await;
        tokio::time::sleep(SETTLE).await;
        report.quarters.push(
            site.window(config.measure, &format!("{wanted} visits, a quarter of the knee times {quarter}")).await?,
        );
    }
    Ok(())
}

/// Every second one visit begins and the oldest ends, so that there are always as many.
async fn churn(config: &RunConfig, site: &mut Site, report: &mut Report) -> Result<(), RunError> {
    site.open(config.visits).await;
    need_some(site)?;
    tokio::time::sleep(SETTLE).await;
    let begin = site.begin()?;
    let began = super::now();
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut joining: JoinSet<Result<Visit, RunError>> = JoinSet::new();
    let mut next_sample = Duration::ZERO;
    while began.elapsed() < config.measure {
        second.tick().await;
        // One that takes longer than a second is waited for: there are never more than one visit too many.
        while let Some(joined) = joining.join_next().await {
            site.take(joined.unwrap_or(Err(RunError::Protocol("a visit panicked"))));
        }
        site.close(config.visits).await;
        if began.elapsed() >= next_sample {
            next_sample += SAMPLE;
            if let Some(usage) = site.usage()? {
                report.churn.push(ChurnSample::new(began.elapsed(), usage, site.visits.len()));
            }
        }
        site.tell(&format!(
            "churn: {} of {} s, {} visits, {} failed",
            began.elapsed().as_secs(),
            config.measure.as_secs(),
            site.visits.len(),
            site.failed
        ));
        let number = site.number();
        let (front, fleet, shape) = (Arc::clone(&site.front), Arc::clone(&site.fleet), site.shape.clone());
        joining.spawn(async move { front.join(front.plan(number).await?, &shape, &fleet).await });
    }
    while let Some(joined) = joining.join_next().await {
        site.take(joined.unwrap_or(Err(RunError::Protocol("a visit panicked"))));
    }
    report.window = Some(site.end(&begin)?);
    Ok(())
}

/// Plans visits, so that what is timed afterwards is joining alone.
async fn plan(config: &RunConfig, site: &mut Site) -> Result<Vec<super::front::Plan>, RunError> {
    let mut plans = Vec::new();
    for _ in 0..config.visits {
        let number = site.number();
        plans.push(site.front.plan(number).await?);
        site.tell(&format!("{} of {} visits planned", plans.len(), config.visits));
    }
    Ok(plans)
}

fn spawn_join(site: &Site, plan: super::front::Plan, joining: &mut JoinSet<Result<Visit, RunError>>) {
    let (front, fleet, shape) = (Arc::clone(&site.front), Arc::clone(&site.fleet), site.shape.clone());
    joining.spawn(async move { front.join(plan, &shape, &fleet).await });
}

async fn joins(config: &RunConfig, site: &mut Site, report: &mut Report) -> Result<(), RunError> {
    let plans = plan(config, site).await?;
    let pause = Duration::from_secs_f64(
        f64::from(u32::try_from(site.shape.people).unwrap_or(2))
            / f64::from(u32::try_from(config.rate.max(1)).unwrap_or(1)),
    );
    let begin = site.begin()?;
    let mut tick = tokio::time::interval(pause);
    let mut joining = JoinSet::new();
    for plan in plans {
        tick.tick().await;
        spawn_join(site, plan, &mut joining);
        site.tell(&format!("{} visits joining", joining.len()));
    }
    while let Some(joined) = joining.join_next().await {
        site.take(joined.unwrap_or(Err(RunError::Protocol("a visit panicked"))));
    }
    need_some(site)?;
    tokio::time::sleep(AFTERMATH).await;
    report.window = Some(site.end(&begin)?);
    Ok(())
}

/// All offers are answered first; then everybody connects at the same moment.
async fn overlap(config: &RunConfig, site: &mut Site, report: &mut Report) -> Result<(), RunError> {
    let plans = plan(config, site).await?;
    let _ = site.gate.send(false);
    let mut joining = JoinSet::new();
    for plan in plans {
        spawn_join(site, plan, &mut joining);
    }
    // Answers that are not there by then come too late to overlap; the report shows how many overlapped.
    tokio::time::sleep(AFTERMATH).await;
    let released = super::now();
    let _ = site.gate.send(true);
    while let Some(joined) = joining.join_next().await {
        site.take(joined.unwrap_or(Err(RunError::Protocol("a visit panicked"))));
    }
    need_some(site)?;
    let connected =
        site.marks().iter().filter_map(|marks| marks.connected).map(|at| at.saturating_duration_since(released)).max();
    report.overlap_ms = connected.map(|last| last.as_secs_f64() * 1e3);
    debug_assert!(site.fleet.common.media.load(Ordering::Relaxed));
    Ok(())
}

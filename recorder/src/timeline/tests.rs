//! The events that a browser was measured to make, against where the sound was truly made.

use super::*;

/// NTP of the recording's zero in these tests.
const EPOCH: u64 = 3_900_000_000;

fn ntp(micros: Micros) -> u64 {
    let micros = u64::try_from(micros).unwrap();
    ((EPOCH + micros / 1_000_000) << 32) | (((micros % 1_000_000) << 32) / 1_000_000)
}

fn wrap(wide: i64) -> u32 {
    u32::try_from(wide.rem_euclid(1 << 32)).unwrap()
}

/// A small deterministic noise source.
struct Noise(u64);

impl Noise {
    fn below(&mut self, bound: i64) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from(self.0 >> 33).unwrap() % bound
    }
}

/// One thing that reaches the recorder.
#[derive(Clone, Copy)]
enum Came {
    /// Timestamp, arrival, and when it was truly made.
    Packet(u32, Micros, Micros),
    Report(Report),
}

fn report(made: Micros, late: Micros, rtp: i64, packets: i64) -> Came {
    let rtp = wrap(rtp);
    Came::Report(Report { arrival: made + late, ntp: ntp(made), rtp, packets: wrap(packets) })
}

/// Plays a Track through a line as the recorder does and gives (true time, place) of each packet.
fn play(rate: u32, came: &[Came], clocks: &mut SenderClocks) -> Vec<(Micros, Placed)> {
    let mut line = Line::new(rate);
    let mut out = Vec::new();
    for (k, item) in came.iter().enumerate() {
        match *item {
            Came::Report(report) => line.report(&report, clocks),
            Came::Packet(timestamp, arrival, made) => {
                let ahead = came[k + 1..].iter().take(300).filter_map(|item| match *item {
                    Came::Packet(t, a, _) if a <= arrival + 1_000_000 => Some((t, a)),
                    _ => None,
                });
                out.push((made, line.place(timestamp, arrival, ahead, clocks)));
            }
        }
    }
    out
}

/// Audio from a sender whose sound clock runs `ppm` fast and whose wall clock is right; network 20 ms + up to 8.
fn audio(seconds: i64, ppm: i64, noise: &mut Noise) -> Vec<Came> {
    let (mut came, mut next_report) = (Vec::new(), 2_300_000);
    for k in 0..seconds * 50 {
        let made = k * 20_000 - k * 20_000 * ppm / 1_000_000;
        let timestamp = 4_294_000_000 + k * 960;
        came.push(Came::Packet(wrap(timestamp), made + 20_000 + noise.below(8_000), made));
        if made >= next_report {
            came.push(report(made + noise.below(1_000) - 500, 20_600, timestamp, k));
            next_report += 5_000_000;
        }
    }
    came
}

/// Worst error against the steady delay, after `skip`.
fn worst(placed: &[(Micros, Placed)], skip: Micros) -> Micros {
    placed
        .iter()
        .filter(|(made, _)| *made >= skip)
        .map(|(made, placed)| (placed.at - made - 20_000).abs())
        .max()
        .unwrap()
}

#[test]
fn drift_of_the_senders_clock_stays_under_two_milliseconds() {
    for ppm in [0, 50, 200, -200] {
        let placed = play(48_000, &audio(600, ppm, &mut Noise(7)), &mut SenderClocks::default());
        assert!(worst(&placed, 0) < 9_000, "{ppm}: {}", worst(&placed, 0));
        assert!(worst(&placed, 40_000_000) < 2_000, "{ppm}: {}", worst(&placed, 40_000_000));
        assert!(placed.iter().all(|(_, p)| p.step.is_none()));
    }
}

#[test]
fn a_microphone_replaced_by_none_keeps_its_silence() {
    // 10 s of sound, 4 s of nothing during which reports pretend the clock ran, then sound whose timestamp went on by one
    // frame. The first report of the new line comes 6.6 s after.
    let mut noise = Noise(3);
    let mut came = Vec::new();
    for k in 0..1500i64 {
        let made = k * 20_000 + if k >= 500 { 4_000_000 } else { 0 };
        if k == 500 {
            came.push(report(11_000_000, 20_050, 550 * 960, k));
            came.push(report(13_000_000, 20_050, 650 * 960, k));
        }
        came.push(Came::Packet(wrap(k * 960), made + 20_000 + noise.below(5_000), made));
        if k % 250 == 115 && !(500..830).contains(&k) {
            came.push(report(made, 20_050, k * 960, k));
        }
    }
    let placed = play(48_000, &came, &mut SenderClocks::default());
    assert!(worst(&placed, 0) < 6_000, "{}", worst(&placed, 0));
    assert!(placed.iter().all(|(_, p)| p.step.is_none()));
}

#[test]
fn a_stalled_network_is_not_a_new_line() {
    // Between 5 and 5.8 s nothing arrives; then everything at once.
    let mut came = audio(30, 0, &mut Noise(5));
    for item in &mut came {
        if let Came::Packet(_, arrival, _) = item
            && (5_000_000..5_800_000).contains(arrival)
        {
            *arrival = 5_800_000;
        }
    }
    let placed = play(48_000, &came, &mut SenderClocks::default());
    assert!(worst(&placed, 0) < 9_000, "{}", worst(&placed, 0));
    assert!(placed.iter().all(|(_, p)| p.step.is_none()));
}

#[test]
fn silence_suppression_is_neither_loss_nor_a_new_line() {
    // usedtx=1: one packet each 400 ms, and one 20 ms after it.
    let mut came = Vec::new();
    for k in 0..100i64 {
        for extra in [0, 20_000] {
            let made = k * 400_000 + extra;
            came.push(Came::Packet(wrap(made * 48 / 1000), made + 20_000, made));
        }
    }
    let placed = play(48_000, &came, &mut SenderClocks::default());
    assert!(worst(&placed, 0) < 100);
}

#[test]
fn a_camera_that_pauses_keeps_wall_time() {
    let mut came = Vec::new();
    for k in 0..600i64 {
        let made = k * 33_333 + if k > 200 { 5_033_000 } else { 0 };
        came.push(Came::Packet(wrap(made * 9 / 100), made + 20_000, made));
        if k % 8 == 3 {
            came.push(report(made, 20_050, made * 9 / 100, k));
        }
    }
    let placed = play(90_000, &came, &mut SenderClocks::default());
    assert!(worst(&placed, 0) < 500, "{}", worst(&placed, 0));
}

#[test]
fn lips_come_together_when_video_is_slower_on_the_way() {
    // Video takes 60 ms more than audio; both report against the same sender's clock.
    let mut clocks = SenderClocks::default();
    let sound = play(48_000, &audio(130, 0, &mut Noise(2)), &mut clocks);
    let mut came = Vec::new();
    for k in 0..3900i64 {
        let made = k * 33_333;
        came.push(Came::Packet(wrap(1_000 + made * 9 / 100), made + 80_000, made));
        if k % 10 == 5 {
            came.push(report(made, 80_000, 1_000 + made * 9 / 100, k));
        }
    }
    // In this test one Track is played after the other, so the envelope of the sound is given again along the way.
    let mut both: Vec<Came> = came.clone();
    both.sort_by_key(|item| match item {
        Came::Packet(_, arrival, _) => *arrival,
        Came::Report(report) => report.arrival,
    });
    let mut line = Line::new(90_000);
    let (id, mut last) = (clocks.find(None, 20_000, ntp_micros(0)), 0);
    for item in both {
        match item {
            Came::Packet(timestamp, arrival, made) => {
                clocks.note(id, made + 20_000, ntp_micros(made));
                last = line.place(timestamp, arrival, std::iter::empty(), &mut clocks).at - made - 20_000;
            }
            Came::Report(report) => line.report(&report, &mut clocks),
        }
    }
    assert!(worst(&sound, 40_000_000) < 2_000);
    assert!(last.abs() < 2_000, "{last}");
}

fn ntp_micros(made: Micros) -> Micros {
    Report { arrival: 0, ntp: ntp(made), rtp: 0, packets: 0 }.sent()
}

#[test]
fn a_report_from_nowhere_moves_nothing() {
    let mut came = audio(20, 0, &mut Noise(9));
    for item in &mut came {
        if let Came::Report(report) = item {
            report.rtp = report.rtp.wrapping_add(1_000_000_000);
        }
    }
    let placed = play(48_000, &came, &mut SenderClocks::default());
    assert!(worst(&placed, 0) < 9_000, "{}", worst(&placed, 0));
}

#[test]
fn a_second_device_has_a_clock_of_its_own() {
    let mut clocks = SenderClocks::default();
    play(48_000, &audio(10, 0, &mut Noise(1)), &mut clocks);
    let mut came = audio(10, 0, &mut Noise(1));
    for item in &mut came {
        if let Came::Report(report) = item {
            report.ntp += 37 << 32;
        }
    }
    let placed = play(48_000, &came, &mut clocks);
    assert!(worst(&placed, 0) < 9_000, "{}", worst(&placed, 0));
}

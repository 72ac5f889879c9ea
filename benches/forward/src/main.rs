//! What the engine alone costs for each forwarded packet: two-party visits on virtual time, without sockets. Prints CPU time,
//! allocations and memory.
//!
//! `forward [--visits 60] [--seconds 5] [--cm] [--idle] [--sockets] [--untimed]`

mod count;
mod sockets;
mod visits;

use std::process::ExitCode;

use visits::{Shape, Visits};

#[global_allocator]
static ALLOCATOR: count::Counting = count::Counting;

fn main() -> ExitCode {
    match Shape::read(std::env::args().skip(1)) {
        Some(shape) if shape.over_sockets => match sockets::run(&shape) {
            Ok(outcome) => {
                print_outcome(&outcome);
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("{error}");
                ExitCode::FAILURE
            }
        },
        Some(shape) => {
            print(&shape);
            ExitCode::SUCCESS
        }
        None => {
            eprintln!("forward [--visits 60] [--seconds 5] [--cm] [--idle] [--sockets] [--untimed]");
            ExitCode::FAILURE
        }
    }
}

#[allow(clippy::print_stdout, reason = "a benchmark's result")]
fn print(shape: &Shape) {
    let mut visits = Visits::connect(shape);
    let connected = count::so_far().1;
    let runs: Vec<visits::Run> = (0..shape.seconds).map(|_| visits.run_second()).collect();
    // The first second fills histories and grows queues.
    let mut steady: Vec<&visits::Run> = runs.iter().skip(1).collect();
    steady.sort_by(|a, b| a.nanos_per_packet().total_cmp(&b.nanos_per_packet()));
    let (Some(best), Some(middle)) = (steady.first(), steady.get(steady.len() / 2)) else { return };
    let visits_count = i64::try_from(shape.visits.max(1)).unwrap_or(1);
    println!("visits                     {}", shape.visits);
    println!("forwarded packets/s        {}", middle.forwarded);
    println!("ns per packet, median      {:.0}", middle.nanos_per_packet());
    println!("ns per packet, best second {:.0}", best.nanos_per_packet());
    println!("us of timers per second    {:.0}", middle.timer_nanos / 1000.0);
    println!("allocations per packet     {:.3}", middle.allocations_per_packet());
    println!("kB per connected visit     {}", connected / visits_count / 1000);
    println!("kB per active visit        {}", count::so_far().1 / visits_count / 1000);
}

#[allow(clippy::print_stdout, clippy::cast_precision_loss, reason = "a benchmark's result")]
fn print_outcome(outcome: &sockets::Outcome) {
    let packets = outcome.arrived.max(1) as f64;
    let (user, system) = (outcome.micros.0 / packets, outcome.micros.1 / packets);
    println!("packets sent, arrived      {} {}", outcome.sent, outcome.arrived);
    println!("us per packet              {:.2} (user {user:.2}, system {system:.2})", user + system);
}

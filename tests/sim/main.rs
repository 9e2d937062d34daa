//! The whole library under seeded schedules: see docs/testing.md. Does something only when the library was
//! built with `--cfg weir_sim`; `scripts/sim` does that and passes its arguments on.
#![allow(unsafe_code, reason = "calls the C functions")]

#[cfg(weir_sim)]
mod clock;
#[cfg(weir_sim)]
mod driver;
#[cfg(weir_sim)]
mod lifetime;
#[cfg(weir_sim)]
mod mixed;
#[cfg(weir_sim)]
mod ops;
#[cfg(weir_sim)]
mod others;
#[cfg(weir_sim)]
mod running;
#[cfg(weir_sim)]
mod sockets;

#[cfg(weir_sim)]
fn main() {
    let all: Vec<driver::Scenario> = [
        running::SCENARIOS,
        clock::SCENARIOS,
        sockets::SCENARIOS,
        others::SCENARIOS,
        lifetime::SCENARIOS,
        mixed::SCENARIOS,
    ]
    .concat();
    std::process::exit(driver::main(&all));
}

#[cfg(not(weir_sim))]
fn main() {
    println!("sim: skipped, needs --cfg weir_sim (make proof-schedules)");
}

//! Runs scenarios, each seed in a process of its own: what one leaves behind can't change the next, so
//! that a seed repeats.

use std::panic;
use std::ptr;
use std::time::{Duration, Instant};
use weir::sched::sync::schedule::{self, Options, Outcome};

/// One kind of program, of which each seed is a run.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// For the command line.
    pub name: &'static str,
    /// Time goes on by itself when nothing else can.
    pub idle_clock: bool,
    /// The kernel may do something by itself.
    pub outside: bool,
    /// Its first thread.
    pub run: fn(),
}

/// What a child of the driver tells it.
#[derive(Clone, Copy, Default)]
struct Told {
    outcome: Outcome,
}

struct Child {
    pid: libc::pid_t,
    seed: u64,
    /// The seed's second run, which must go the same way as the first.
    again: bool,
}

struct Arguments {
    first: u64,
    seeds: u64,
    seconds: u64,
    jobs: usize,
    twice: u64,
    trace: bool,
    quiet: bool,
    names: Vec<String>,
}

/// The exit status of a run that hangs.
const HANGS: i32 = 3;

const USAGE: &str = "sim [--first SEED] [--seeds N] [--seconds T] [--jobs J] [--twice N] [--trace] [--quiet] \
                     [--list] [SCENARIO...]";

fn arguments(all: &[Scenario]) -> Arguments {
    let mut given = Arguments {
        first: 0,
        seeds: 400,
        seconds: u64::MAX,
        jobs: std::thread::available_parallelism().map_or(1, usize::from),
        twice: 20,
        trace: false,
        quiet: false,
        names: Vec::new(),
    };
    let mut left = std::env::args().skip(1);
    while let Some(argument) = left.next() {
        let mut number = || match left.next().and_then(|text| text.parse().ok()) {
            Some(number) => number,
            None => fail(USAGE),
        };
        match argument.as_str() {
            "--first" => given.first = number(),
            "--seeds" => given.seeds = number(),
            "--seconds" => given.seconds = number(),
            "--jobs" => given.jobs = number().max(1) as usize,
            "--twice" => given.twice = number(),
            "--trace" => given.trace = true,
            "--quiet" => given.quiet = true,
            "--list" => {
                for scenario in all {
                    println!("{}", scenario.name);
                }
                std::process::exit(0);
            }
            name if all.iter().any(|scenario| scenario.name == name) => {
                given.names.push(name.to_string());
            }
            _ => fail(USAGE),
        }
    }
    given
}

fn fail(text: &str) -> ! {
    eprintln!("{text}");
    std::process::exit(2);
}

/// Memory that children share with the driver, an entry for each that runs at once.
fn shared(jobs: usize) -> &'static mut [Told] {
    let size = jobs * size_of::<Told>();
    // SAFETY: a new mapping, zeroed, of plain numbers, never unmapped.
    unsafe {
        let at = libc::mmap(
            ptr::null_mut(),
            size,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        assert!(at != libc::MAP_FAILED, "mmap");
        std::slice::from_raw_parts_mut(at.cast(), jobs)
    }
}

static mut TELL: *mut Told = ptr::null_mut();

fn tell(outcome: Outcome) {
    // SAFETY: the child's own entry.
    unsafe {
        if let Some(told) = TELL.as_mut() {
            told.outcome = outcome;
        }
    }
}

/// In the child: runs one seed and never returns.
fn play(
    scenario: &Scenario,
    seed: u64,
    told: &mut Told,
    place: usize,
    quiet: bool,
    trace: bool,
) -> ! {
    *told = Told::default();
    // SAFETY: the only thread; numbers, and a set that lives through the call.
    unsafe {
        TELL = told;
        libc::alarm(300);
        // The threads take turns anyway, and pass the baton faster on one processor.
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        if libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) == 0 {
            let count = libc::CPU_COUNT(&set).max(1) as usize;
            let mine = (0..libc::CPU_SETSIZE as usize)
                .filter(|cpu| libc::CPU_ISSET(*cpu, &set))
                .nth(place % count);
            if let Some(cpu) = mine {
                libc::CPU_ZERO(&mut set);
                libc::CPU_SET(cpu, &mut set);
                libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set);
            }
        }
        if quiet {
            let null = libc::open(c"/dev/null".as_ptr(), libc::O_WRONLY);
            libc::dup2(null, 2);
        }
    }
    panic::set_hook(Box::new(|info| {
        eprintln!("{info}\n{}", schedule::report());
        tell(schedule::outcome());
        // SAFETY: takes a number only.
        unsafe { libc::_exit(101) }
    }));
    schedule::at_failure(|outcome| {
        tell(outcome);
        // SAFETY: takes a number only.
        unsafe { libc::_exit(HANGS) }
    });
    schedule::begin(Options {
        seed,
        idle_clock: scenario.idle_clock,
        outside: scenario.outside,
        max_steps: 100_000,
        trace,
    });
    (scenario.run)();
    super::ops::check();
    tell(schedule::outcome());
    // SAFETY: takes a number only.
    unsafe { libc::_exit(0) }
}

fn start(
    scenario: &Scenario,
    seed: u64,
    told: &mut Told,
    place: usize,
    quiet: bool,
    trace: bool,
) -> libc::pid_t {
    // SAFETY: the driver has one thread.
    match unsafe { libc::fork() } {
        -1 => fail("fork"),
        0 => play(scenario, seed, told, place, quiet, trace),
        pid => pid,
    }
}

fn describe(status: i32) -> String {
    if libc::WIFSIGNALED(status) {
        format!("ended by signal {}", libc::WTERMSIG(status))
    } else {
        match libc::WEXITSTATUS(status) {
            HANGS => "hangs".to_string(),
            101 => "failed".to_string(),
            other => format!("exit status {other}"),
        }
    }
}

#[derive(Default)]
struct Sum {
    runs: u64,
    steps: u64,
    switches: u64,
    distinct: std::collections::HashSet<u64>,
}

/// The seed that failed, how, and after how many.
fn explore(
    scenario: &Scenario,
    given: &Arguments,
    shared: &mut [Told],
    sum: &mut Sum,
    ends: Instant,
) -> Option<(u64, String)> {
    let mut running: Vec<Option<Child>> = (0..given.jobs).map(|_| None).collect();
    let mut next = given.first;
    let last = given.first.saturating_add(given.seeds);
    let mut repeats: std::collections::HashMap<u64, Outcome> = std::collections::HashMap::new();
    let mut waiting: Vec<u64> = Vec::new();
    let mut found: Option<(u64, String)> = None;
    loop {
        for (place, slot) in running.iter_mut().enumerate() {
            if slot.is_none() && found.is_none() {
                let again = waiting.pop();
                let seed = match again {
                    Some(seed) => seed,
                    None if next < last && Instant::now() < ends => {
                        next += 1;
                        next - 1
                    }
                    None => continue,
                };
                let pid =
                    start(scenario, seed, &mut shared[place], place, given.quiet, given.trace);
                *slot = Some(Child { pid, seed, again: again.is_some() });
            }
        }
        if running.iter().all(Option::is_none) {
            return found;
        }
        let mut status = 0;
        // SAFETY: the children are this process's own.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, 0) };
        let Some(place) =
            running.iter().position(|slot| slot.as_ref().is_some_and(|child| child.pid == pid))
        else {
            continue;
        };
        let Some(child) = running[place].take() else { continue };
        let outcome = shared[place].outcome;
        if status != 0 {
            let how = describe(status);
            found = found.or(Some((child.seed, how)));
            continue;
        }
        sum.runs += 1;
        sum.steps += outcome.steps;
        sum.switches += outcome.switches;
        sum.distinct.insert(outcome.hash);
        if child.again {
            if repeats.get(&child.seed) != Some(&outcome) {
                let first = repeats.get(&child.seed);
                found = Some((child.seed, format!("went two ways: {first:?}, {outcome:?}")));
            }
        } else if child.seed - given.first < given.twice {
            repeats.insert(child.seed, outcome);
            waiting.push(child.seed);
        }
    }
}

/// Two runs of a seed that fails must fail in the same way.
fn repeats(scenario: &Scenario, seed: u64, shared: &mut [Told]) -> bool {
    let mut once = || {
        let pid = start(scenario, seed, &mut shared[0], 0, true, false);
        let mut status = 0;
        // SAFETY: a child of this process.
        unsafe { libc::waitpid(pid, &raw mut status, 0) };
        (status, shared[0].outcome)
    };
    once() == once()
}

/// Runs what the command line says; the exit status.
pub fn main(all: &[Scenario]) -> i32 {
    let given = arguments(all);
    let shared = shared(given.jobs);
    let chosen: Vec<&Scenario> = all
        .iter()
        .filter(|one| given.names.is_empty() || given.names.iter().any(|name| name == one.name))
        .collect();
    let began = Instant::now();
    let (mut passed, mut failed) = (0, 0);
    let mut total = Sum::default();
    for (place, scenario) in chosen.iter().enumerate() {
        // What is left of the time is shared by the scenarios that are left.
        let left = Duration::from_secs(given.seconds.min(1 << 30)).saturating_sub(began.elapsed());
        let ends = Instant::now() + left / (chosen.len() - place) as u32;
        let (from, mut sum) = (Instant::now(), Sum::default());
        let found = explore(scenario, &given, shared, &mut sum, ends);
        let seconds = from.elapsed().as_secs_f64();
        println!(
            "{:<18} {:>6} runs {:>6} ways {:>6.0} steps each {:>9.0} steps/s {:>6.1} s",
            scenario.name,
            sum.runs,
            sum.distinct.len(),
            sum.steps as f64 / sum.runs.max(1) as f64,
            sum.steps as f64 / seconds,
            seconds
        );
        total.runs += sum.runs;
        total.steps += sum.steps;
        total.switches += sum.switches;
        match found {
            None => passed += 1,
            Some((seed, how)) => {
                failed += 1;
                let same =
                    if repeats(scenario, seed, shared) { "repeats" } else { "DOES NOT REPEAT" };
                println!(
                    "{}: seed {seed} {how} after {} runs; {same}: scripts/sim --first {seed} --seeds 1 {}",
                    scenario.name, sum.runs, scenario.name
                );
            }
        }
    }
    println!(
        "{} interleavings, {} yield points, {} switches of threads, {:.0} s",
        total.runs,
        total.steps,
        total.switches,
        began.elapsed().as_secs_f64()
    );
    let result = if failed == 0 { "ok" } else { "FAILED" };
    println!("test result: {result}. {passed} passed; {failed} failed");
    i32::from(failed > 0)
}

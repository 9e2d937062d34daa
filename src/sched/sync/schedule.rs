//! The seeded scheduler behind `--cfg weir_sim`: of the threads that use the library one runs at a time,
//! and at every yield point (an operation on a lock, a condition variable or an atomic, a visit to the
//! kernel) the seed decides which goes on. The same seed in the same process image takes the same way.
//!
//! What it explores is every order of steps, not what a weak memory may do to one step: that is loom's
//! part. Threads that it does not know (a program before it called [`begin`]) run as they are.
//!
//! The threads are real ones that pass a baton. Time stands still but for [`advance`]; when nothing can
//! go on the simulation has found a deadlock, prints who waits for what, and ends the process.
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "for tests only")]

use crate::sys::{epoll, poll};
use std::cell::Cell;
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::os::fd::RawFd;
use std::panic::Location;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::Thread;
use std::time::{Duration, Instant};

/// How the next thread is chosen.
#[derive(Clone, Copy, Debug)]
enum Policy {
    /// Any thread, each as likely as the others.
    Uniform,
    /// The same thread goes on but for one step in so many.
    Sticky(u64),
    /// By priorities (PCT), which fall for the running thread at so many steps that the seed chose.
    Priorities(usize),
}

/// How a simulation is run.
#[derive(Clone, Copy)]
pub struct Options {
    /// Decides everything.
    pub seed: u64,
    /// Time goes on by itself to the next deadline when nothing else can.
    pub idle_clock: bool,
    /// Something outside the process, or the kernel by itself, may make an fd ready: when nothing can go on
    /// the simulation waits a while in real time.
    pub outside: bool,
    /// Steps after which it is thought to run for ever.
    pub max_steps: u64,
    /// Prints every step.
    pub trace: bool,
}

/// What a simulation did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Yield points passed.
    pub steps: u64,
    /// Those at which another thread went on.
    pub switches: u64,
    /// Of the whole trace.
    pub hash: u64,
}

/// What a step was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An operation on an atomic.
    Atomic,
    /// A lock is to be taken.
    Lock,
    /// A lock was given back.
    Unlock,
    /// A condition variable is notified.
    Notify,
    /// The thread begins to wait.
    Wait,
    /// A visit to the kernel.
    Kernel,
    /// The thread can't do anything until another has.
    Spin,
    /// A step of the test itself.
    Test,
    /// A thread starts.
    Start,
    /// A thread ends.
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ready,
    /// Ready when another thread has taken a step.
    Spins,
    /// For a lock to be free, by its address.
    Lock(usize),
    /// To be notified.
    Condvar(usize),
    /// For events of an epoll fd.
    Kernel(RawFd),
    /// For the end of a thread.
    Join(usize),
    Ended,
}

struct Actor {
    name: String,
    state: State,
    /// Where it stands.
    at: &'static Location<'static>,
    deadline: Option<i64>,
    /// The wait ended by the deadline.
    timed_out: bool,
    priority: i64,
    /// Belongs to the library: it need not end.
    daemon: bool,
    thread: Option<Thread>,
}

struct Step {
    actor: usize,
    kind: Kind,
    at: &'static Location<'static>,
}

/// Steps that are kept for the report.
const KEPT: usize = 60;
/// Steps that one thread may take while others could.
const UNFAIR: u64 = 5_000;
/// Steps that only threads take which wait for another's.
const VAIN: u64 = 5_000;

struct Sim {
    options: Options,
    policy: Policy,
    random: u64,
    actors: Vec<Actor>,
    current: usize,
    /// Of the virtual time, in nanoseconds.
    now: i64,
    outcome: Outcome,
    in_a_row: u64,
    in_vain: u64,
    changes: Vec<u64>,
    lowest: i64,
    last: VecDeque<Step>,
}

static SIM: Mutex<Option<Sim>> = Mutex::new(None);
/// A copy of `current` to wait on.
static BATON: AtomicUsize = AtomicUsize::new(NOBODY);
const NOBODY: usize = usize::MAX;

/// Which thread this is. Dropped last of the thread's locals, since it is set first.
struct Me(Cell<usize>);

thread_local! {
    static ME: Me = const { Me(Cell::new(NOBODY)) };
}

impl Drop for Me {
    fn drop(&mut self) {
        let me = self.0.replace(NOBODY);
        if me != NOBODY {
            end(me);
        }
    }
}

fn sim() -> MutexGuard<'static, Option<Sim>> {
    SIM.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The calling thread, if the simulation knows it.
fn me() -> Option<usize> {
    ME.try_with(|me| me.0.get()).ok().filter(|me| *me != NOBODY)
}

/// True on a thread of a simulation.
pub fn is_simulated() -> bool {
    me().is_some()
}

impl Sim {
    fn next_random(&mut self) -> u64 {
        // splitmix64
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next_random() % limit.max(1) as u64) as usize
    }

    fn add(&mut self, name: &str, daemon: bool, at: &'static Location<'static>) -> usize {
        let priority = (self.next_random() >> 2) as i64;
        self.actors.push(Actor {
            name: name.to_string(),
            state: State::Ready,
            at,
            deadline: None,
            timed_out: false,
            priority,
            daemon,
            thread: None,
        });
        self.actors.len() - 1
    }

    fn record(&mut self, actor: usize, kind: Kind, at: &'static Location<'static>) {
        self.outcome.steps += 1;
        let mut hash = self.outcome.hash;
        for part in [actor as u64, kind as u64, u64::from(at.line()), u64::from(at.column())] {
            hash = (hash ^ part).wrapping_mul(0x0100_0000_01b3);
        }
        self.outcome.hash = hash;
        if self.options.trace {
            eprintln!("{}: {kind:?} at {at}", self.actors[actor].name);
        }
        if self.last.len() == KEPT {
            self.last.pop_front();
        }
        self.last.push_back(Step { actor, kind, at });
        self.actors[actor].at = at;
        if self.outcome.steps > self.options.max_steps {
            self.fail("it seems to run for ever");
        }
        if kind == Kind::Spin {
            self.actors[actor].state = State::Spins;
            self.lower(actor);
            self.in_vain += 1;
            if self.in_vain > VAIN {
                self.fail("those that can go on wait for others in vain");
            }
        } else {
            self.in_vain = 0;
            for (index, other) in self.actors.iter_mut().enumerate() {
                if index != actor && other.state == State::Spins {
                    other.state = State::Ready;
                }
            }
        }
        if self.changes.last().is_some_and(|change| *change <= self.outcome.steps) {
            self.changes.pop();
            self.lower(actor);
        }
    }

    fn lower(&mut self, actor: usize) {
        self.lowest -= 1;
        self.actors[actor].priority = self.lowest;
    }

    fn expired(&self, index: usize) -> bool {
        self.actors[index].deadline.is_some_and(|at| at <= self.now)
    }

    /// Chooses who goes on; never returns when nobody can.
    fn pick(&mut self) -> usize {
        let mut waited = Duration::ZERO;
        loop {
            if let Some(next) = self.try_pick() {
                let actor = &mut self.actors[next];
                if matches!(actor.state, State::Condvar(_)) {
                    // Only a deadline makes one that waits eligible.
                    actor.timed_out = true;
                }
                actor.state = State::Ready;
                return next;
            }
            let deadline = |actor: &Actor| match actor.state {
                State::Condvar(_) | State::Kernel(_) => actor.deadline,
                _ => None,
            };
            let all_ended =
                self.actors.iter().all(|actor| actor.daemon || actor.state == State::Ended);
            let next = self.actors.iter().filter_map(deadline).min();
            if self.options.outside && waited < Duration::from_secs(5) {
                std::thread::sleep(Duration::from_micros(200));
                waited += Duration::from_micros(200);
            } else if let Some(at) = next
                && (self.options.idle_clock || all_ended)
            {
                self.now = self.now.max(at);
            } else if all_ended {
                return NOBODY;
            } else {
                self.fail("nobody can go on");
            }
        }
    }

    fn try_pick(&mut self) -> Option<usize> {
        let mut eligible: Vec<usize> = (0..self.actors.len())
            .filter(|index| match self.actors[*index].state {
                State::Ready | State::Kernel(_) => true,
                State::Condvar(_) => self.expired(*index),
                _ => false,
            })
            .collect();
        while !eligible.is_empty() {
            let place = self.choose(&eligible);
            let index = eligible[place];
            let State::Kernel(fd) = self.actors[index].state else { return Some(index) };
            if self.expired(index) || is_readable(fd) {
                return Some(index);
            }
            eligible.remove(place);
        }
        // Where nothing else can go on the one that spins may find that it need not.
        let spinning: Vec<usize> =
            (0..self.actors.len()).filter(|i| self.actors[*i].state == State::Spins).collect();
        if spinning.is_empty() { None } else { Some(spinning[self.below(spinning.len())]) }
    }

    fn choose(&mut self, eligible: &[usize]) -> usize {
        let same = eligible.iter().position(|index| *index == self.current);
        if self.in_a_row > UNFAIR {
            self.lower(self.current);
            return self.below(eligible.len());
        }
        match self.policy {
            Policy::Uniform => self.below(eligible.len()),
            Policy::Sticky(period) => match same {
                Some(place) if !self.next_random().is_multiple_of(period) => place,
                _ => self.below(eligible.len()),
            },
            Policy::Priorities(_) => (0..eligible.len())
                .max_by_key(|place| self.actors[eligible[*place]].priority)
                .expect("not empty"),
        }
    }

    fn report(&self) -> String {
        let mut text = String::new();
        let Options { seed, .. } = self.options;
        let _ = writeln!(
            text,
            "seed {seed}, {:?}, {} steps, trace {:016x}; the last of them:",
            self.policy, self.outcome.steps, self.outcome.hash
        );
        for step in &self.last {
            let name = &self.actors[step.actor].name;
            let _ = writeln!(text, "  {name}: {:?} at {}", step.kind, step.at);
        }
        for actor in &self.actors {
            let _ = write!(text, "{}: {:x?} at {}", actor.name, actor.state, actor.at);
            if let Some(at) = actor.deadline {
                let _ = write!(text, ", until {at} (it is {})", self.now);
            }
            let _ = writeln!(text);
        }
        text
    }

    fn fail(&self, what: &str) -> ! {
        eprintln!("simulation: {what}: {}", self.report());
        if let Some(told) = AT_FAILURE.get() {
            told(self.outcome);
        }
        std::process::abort()
    }
}

fn is_readable(fd: RawFd) -> bool {
    let mut look = [poll::Look::new(fd, epoll::IN)];
    poll::look(&mut look).is_ok() && look[0].found() != 0
}

/// Hands the baton to whom the seed chooses, and comes back when it is this thread's again.
fn switch(mut guard: MutexGuard<'static, Option<Sim>>, me: usize) {
    let Some(sim) = guard.as_mut() else { return };
    let next = sim.pick();
    if next == me {
        sim.in_a_row += 1;
        return;
    }
    pass(guard, next);
    wait_for_baton(me);
}

fn pass(mut guard: MutexGuard<'static, Option<Sim>>, next: usize) {
    let Some(sim) = guard.as_mut() else { return };
    sim.outcome.switches += 1;
    sim.in_a_row = 0;
    sim.current = next;
    BATON.store(next, Ordering::Release);
    if let Some(thread) = sim.actors.get(next).and_then(|actor| actor.thread.clone()) {
        drop(guard);
        thread.unpark();
    }
}

fn wait_for_baton(me: usize) {
    while BATON.load(Ordering::Acquire) != me {
        std::thread::park();
    }
}

/// A yield point.
#[track_caller]
pub fn step(kind: Kind) {
    step_at(kind, Location::caller());
}

/// The same on behalf of a place.
pub fn step_at(kind: Kind, at: &'static Location<'static>) {
    let Some(me) = me() else { return };
    let mut guard = sim();
    let Some(sim) = guard.as_mut() else { return };
    sim.record(me, kind, at);
    switch(guard, me);
}

fn block(state: State, deadline: Option<i64>, kind: Kind, at: &'static Location<'static>) -> bool {
    let Some(me) = me() else { return false };
    let mut guard = sim();
    let Some(sim) = guard.as_mut() else { return false };
    sim.record(me, kind, at);
    let actor = &mut sim.actors[me];
    actor.state = state;
    actor.deadline = deadline;
    actor.timed_out = false;
    switch(guard, me);
    let mut guard = self::sim();
    let Some(sim) = guard.as_mut() else { return false };
    sim.actors[me].deadline = None;
    sim.actors[me].timed_out
}

/// Waits until [`unblock_lock`] for that address.
pub fn block_on_lock(address: usize, at: &'static Location<'static>) {
    block(State::Lock(address), None, Kind::Lock, at);
}

/// Those that wait for the lock look again.
pub fn unblock_lock(address: usize) {
    let mut guard = sim();
    let Some(sim) = guard.as_mut() else { return };
    for actor in &mut sim.actors {
        if actor.state == State::Lock(address) {
            actor.state = State::Ready;
        }
    }
}

/// Waits to be notified; true when the deadline came first. No step lies between this call and the wait:
/// the caller gives its lock back without one.
pub fn block_on_condvar(
    address: usize,
    deadline: Option<Instant>,
    at: &'static Location<'static>,
) -> bool {
    let deadline = deadline.map(since_base);
    block(State::Condvar(address), deadline, Kind::Wait, at)
}

/// Wakes one that waits, which the seed chooses, or all.
pub fn notify(address: usize, all: bool) {
    let mut guard = sim();
    let Some(sim) = guard.as_mut() else { return };
    let mut waiting: Vec<usize> = (0..sim.actors.len())
        .filter(|index| sim.actors[*index].state == State::Condvar(address))
        .collect();
    while !waiting.is_empty() {
        let place = sim.below(waiting.len());
        let index = waiting.remove(place);
        sim.actors[index].state = State::Ready;
        if !all {
            return;
        }
    }
}

/// Waits until the fd is readable; true when so many nanoseconds have passed first.
#[track_caller]
pub fn block_on_kernel(fd: RawFd, nanos: Option<i64>) -> bool {
    let deadline = nanos.map(|nanos| since_base(now()).saturating_add(nanos));
    block(State::Kernel(fd), deadline, Kind::Kernel, Location::caller());
    deadline.is_some_and(|at| at <= since_base(now()))
}

/// A number below the limit, of the seed.
pub fn choose(limit: usize) -> usize {
    if me().is_none() {
        return 0;
    }
    sim().as_mut().map_or(0, |sim| sim.below(limit))
}

fn base() -> Instant {
    static BASE: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    *BASE.get_or_init(Instant::now)
}

fn since_base(at: Instant) -> i64 {
    i64::try_from(at.saturating_duration_since(base()).as_nanos()).unwrap_or(i64::MAX)
}

/// The virtual time; the real one on a thread that is not simulated.
pub fn now() -> Instant {
    let passed = me().and_then(|_| sim().as_ref().map(|sim| sim.now));
    match passed {
        Some(passed) => base() + Duration::from_nanos(passed as u64),
        None => Instant::now(),
    }
}

/// Moves the virtual time.
#[track_caller]
pub fn advance(by: i64) {
    if let Some(sim) = sim().as_mut() {
        sim.now += by;
    }
    step(Kind::Test);
}

/// Begins a simulation, of which the calling thread is the first. One for each process.
#[track_caller]
pub fn begin(options: Options) {
    base();
    let mut sim = Sim {
        options,
        policy: Policy::Uniform,
        random: options.seed.wrapping_mul(0xd134_2543_de82_ef95),
        actors: Vec::new(),
        current: 0,
        now: 0,
        outcome: Outcome { hash: 0xcbf2_9ce4_8422_2325, ..Outcome::default() },
        in_a_row: 0,
        in_vain: 0,
        changes: Vec::new(),
        lowest: 0,
        last: VecDeque::new(),
    };
    sim.policy = match options.seed % 5 {
        0 => Policy::Uniform,
        1 => Policy::Sticky(6),
        2 => Policy::Sticky(30),
        3 => Policy::Priorities(2),
        _ => Policy::Priorities(5),
    };
    if let Policy::Priorities(changes) = sim.policy {
        let length = [200, 800, 3000][sim.below(3)];
        sim.changes = (0..changes).map(|_| sim.below(length) as u64).collect();
        sim.changes.sort_unstable_by(|a, b| b.cmp(a));
    }
    let first = sim.add("main", false, Location::caller());
    sim.actors[first].thread = Some(std::thread::current());
    ME.with(|me| me.0.set(first));
    BATON.store(first, Ordering::Release);
    *self::sim() = Some(sim);
}

static AT_FAILURE: std::sync::OnceLock<fn(Outcome) -> !> = std::sync::OnceLock::new();

/// Says who ends the process when a simulation hangs: without destructors, which would use the simulation.
pub fn at_failure(told: fn(Outcome) -> !) {
    let _ = AT_FAILURE.set(told);
}

/// What has been done so far.
pub fn outcome() -> Outcome {
    // A panic may come from inside.
    SIM.try_lock().ok().and_then(|sim| sim.as_ref().map(|sim| sim.outcome)).unwrap_or_default()
}

/// What happened last and who waits for what.
pub fn report() -> String {
    // A panic may come from inside.
    SIM.try_lock().ok().and_then(|sim| sim.as_ref().map(Sim::report)).unwrap_or_default()
}

fn end(me: usize) {
    let mut guard = sim();
    let Some(sim) = guard.as_mut() else { return };
    let at = sim.actors[me].at;
    sim.record(me, Kind::End, at);
    sim.actors[me].state = State::Ended;
    for actor in &mut sim.actors {
        if actor.state == State::Join(me) {
            actor.state = State::Ready;
        }
    }
    let next = sim.pick();
    pass(guard, next);
}

/// A simulated thread that can be waited for.
pub struct Spawned(usize);

impl Spawned {
    /// True when it has ended.
    pub fn has_ended(&self) -> bool {
        sim().as_ref().is_none_or(|sim| sim.actors[self.0].state == State::Ended)
    }

    /// Waits for its end.
    #[track_caller]
    pub fn join(self) {
        if !self.has_ended() {
            block(State::Join(self.0), None, Kind::Test, Location::caller());
        }
    }
}

/// Starts a simulated thread.
#[track_caller]
pub fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Spawned {
    Spawned(start(name, false, Location::caller(), work))
}

/// Starts one of the library's own.
#[track_caller]
pub fn spawn_daemon(name: &str, work: impl FnOnce() + Send + 'static) {
    start(name, true, Location::caller(), work);
}

fn start(
    name: &str,
    daemon: bool,
    at: &'static Location<'static>,
    work: impl FnOnce() + Send + 'static,
) -> usize {
    let index = sim().as_mut().expect("inside a simulation").add(name, daemon, at);
    let (ready, is_ready) = std::sync::mpsc::channel();
    let builder = std::thread::Builder::new().stack_size(1 << 20);
    builder
        .spawn(move || {
            // First of this thread's locals.
            ME.with(|me| me.0.set(index));
            if let Some(sim) = sim().as_mut() {
                sim.actors[index].thread = Some(std::thread::current());
            }
            let _ = ready.send(());
            wait_for_baton(index);
            work();
        })
        .expect("a thread");
    let _ = is_ready.recv();
    step_at(Kind::Start, at);
    index
}

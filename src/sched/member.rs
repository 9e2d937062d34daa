//! The handles that a context owns, as an intrusive list, so that its destruction, its reports and the
//! cancelling of a tag find them all.
#![allow(unsafe_code, reason = "intrusive links between type-stable objects")]

use super::frame::Caller;
use super::scheduler::Scheduler;
use super::strand::{STRANDS, Strand};
#[cfg(not(loom))]
use super::sync::AtomicPtr;
use super::sync::{AtomicU32, Mutex, Ordering};
use super::table::{Entry, Token};
use crate::sys::clock;
use crate::sys::errno::Errno;
use std::cell::Cell;
use std::collections::{HashMap, hash_map::DefaultHasher};
use std::ffi::CString;
use std::hash::BuildHasherDefault;
use std::ptr::{self, NonNull};

/// See [`Class::report`].
pub type ReportFn = unsafe fn(NonNull<Member>, &Scheduler) -> Option<(Token, usize)>;

/// What a context does with its members without knowing what they are. Each function takes the object's
/// lock and does nothing where the object no longer belongs to this context.
pub struct Class {
    /// Of this class alone, below 16.
    pub id: u8,
    /// Closes the object.
    pub close: unsafe fn(NonNull<Member>, &Scheduler, &Caller),
    /// The handle, and the number of operations pending on it.
    pub report: ReportFn,
    /// Registers anew with the context's epoll set, in a child process.
    pub renew: Option<unsafe fn(NonNull<Member>, &Scheduler)>,
}

/// Embedded in every object that belongs to a context.
pub struct Member {
    prev: Cell<*const Member>,
    next: Cell<*const Member>,
    /// When it joined, on the coarse monotonic clock in steps of [`STEP`]: half the size, and good for two years.
    born: Cell<u32>,
    /// Above, the class. Below, the strand that serialises its callbacks, as its place in the table and one; 0: none.
    /// Changed under the object's lock.
    bound: AtomicU32,
    /// A model has no use for one more atomic that its threads share.
    #[cfg(loom)]
    class: &'static Class,
}

/// Bits of a strand's place and one.
const PLACE_BITS: u32 = 28;
const PLACE: u32 = (1 << PLACE_BITS) - 1;
#[cfg(not(loom))]
const CLASSES_MAX: usize = 1 << (u32::BITS - PLACE_BITS);

/// Every class that there are members of, by its number.
#[cfg(not(loom))]
static CLASSES: [AtomicPtr<Class>; CLASSES_MAX] =
    [const { AtomicPtr::new(ptr::null_mut()) }; CLASSES_MAX];

/// log2 of the nanoseconds in a step of ages: 17 ms.
const STEP: u32 = 24;

/// The coarse monotonic clock in steps, round and round.
fn steps() -> u32 {
    (clock::monotonic_coarse() >> STEP) as u32
}

#[cfg(all(not(loom), not(weir_sim)))]
const _: () = assert!(size_of::<Member>() == 24);

// SAFETY: the links are touched under the list's lock only.
unsafe impl Send for Member {}
// SAFETY: as above.
unsafe impl Sync for Member {}

impl Member {
    /// A member of no list.
    #[allow(clippy::missing_const_for_fn, reason = "loom's atomics have no const constructor")]
    pub fn new(class: &'static Class) -> Self {
        #[cfg(not(loom))]
        if let Some(place) = CLASSES.get(usize::from(class.id)) {
            place.store(ptr::from_ref(class).cast_mut(), Ordering::Release);
        }
        Member {
            prev: Cell::new(ptr::null()),
            next: Cell::new(ptr::null()),
            born: Cell::new(0),
            bound: AtomicU32::new(u32::from(class.id) << PLACE_BITS),
            #[cfg(loom)]
            class,
        }
    }

    /// What the context does with it.
    #[cfg(loom)]
    fn class(&self) -> &'static Class {
        self.class
    }

    /// What the context does with it.
    #[cfg(not(loom))]
    fn class(&self) -> &'static Class {
        let id = (self.bound.load(Ordering::Relaxed) >> PLACE_BITS) as usize;
        let class = CLASSES.get(id).map(|class| class.load(Ordering::Acquire));
        // SAFETY: `new` was given a reference that is good for ever.
        match class.and_then(|class| unsafe { class.as_ref() }) {
            Some(class) => class,
            None => unreachable!("a member's class is noted before the member is"),
        }
    }

    /// The strand that the handle is bound to, which is kept while something is bound to it.
    #[inline]
    pub fn strand(&self) -> Option<&'static Strand> {
        strand_at(self.bound.load(Ordering::Relaxed))
    }

    /// Gives the strand up, when nothing of the closed handle is left to be delivered through it.
    pub fn unbind(&self) {
        if let Some(strand) = self.bind(None) {
            strand.unbound();
        }
    }

    /// Binds the handle, or unbinds it; what it was bound to before. Under the object's lock.
    pub fn bind(&self, strand: Option<&'static Strand>) -> Option<&'static Strand> {
        let place = strand.map_or(0, |strand| strand.head().index() + 1);
        let before = self.bound.load(Ordering::Relaxed);
        self.bound.store(before & !PLACE | place, Ordering::Relaxed);
        strand_at(before)
    }
}

#[inline]
fn strand_at(bound: u32) -> Option<&'static Strand> {
    match bound & PLACE {
        0 => None,
        place => STRANDS.by_index(place - 1),
    }
}

/// What a user says of a handle.
#[derive(Default)]
struct Label {
    tag: u64,
    /// The handle, where it has a tag.
    token: Option<Token>,
    name: Option<CString>,
}

/// Hashed with fixed keys: nobody chooses the addresses, and random ones come from the kernel, or from a file
/// that would stay open.
type Labels = HashMap<usize, Label, BuildHasherDefault<DefaultHasher>>;

/// Room for a name in a report, its NUL included; a longer one is cut short.
pub const NAME_ROOM: usize = 64;

/// A member's key in the map of labels.
fn key(member: &Member) -> usize {
    ptr::from_ref(member).expose_provenance()
}

/// One line of a report.
pub struct Line {
    /// The handle.
    pub token: Token,
    /// Its name, with a NUL behind it; empty where it was given none.
    pub name: [u8; NAME_ROOM],
    /// Nanoseconds since it was made, to some hundredths of a second.
    pub age: i64,
    /// Operations pending on it.
    pub pending: usize,
}

/// The list of one context. `open` says whether it takes members.
pub struct Members {
    list: Mutex<List>,
}

struct List {
    head: *const Member,
    open: bool,
    /// Of the few that have one.
    labels: Option<Labels>,
}

// SAFETY: the pointers are to type-stable objects and used under the lock.
unsafe impl Send for List {}

impl List {
    fn name(&self, member: &Member) -> &[u8] {
        let label = self.labels.as_ref().and_then(|labels| labels.get(&key(member)));
        let name = label.and_then(|label| label.name.as_ref());
        name.map_or(&[][..], |name| name.as_bytes())
    }

    fn copy_name(&self, member: &Member, to: &mut [u8]) {
        let Some(room) = to.len().checked_sub(1) else { return };
        let name = self.name(member);
        let length = name.len().min(room);
        for (to, from) in to.iter_mut().zip(name.iter().take(length).chain(std::iter::once(&0))) {
            *to = *from;
        }
    }
}

impl Members {
    /// A list that takes no members yet.
    #[allow(clippy::missing_const_for_fn, reason = "loom's mutex has no const constructor")]
    pub fn new() -> Self {
        Members { list: Mutex::new(List { head: ptr::null(), open: false, labels: None }) }
    }

    /// Starts or ends taking members.
    pub fn set_open(&self, open: bool) {
        self.list.lock().open = open;
    }

    /// Adds a member; false when the list is not open.
    pub fn add(&self, member: &'static Member) -> bool {
        let mut list = self.list.lock();
        if !list.open {
            return false;
        }
        member.born.set(steps());
        member.prev.set(ptr::null());
        member.next.set(list.head);
        // SAFETY: members are type-stable, and in the list, so that the lock guards their links.
        if let Some(first) = unsafe { list.head.as_ref() } {
            first.prev.set(member);
        }
        list.head = member;
        true
    }

    /// Takes a member out. The last thing that its close does with the context: while it is in the
    /// list the context is not torn down.
    pub fn remove(&self, member: &'static Member) {
        let mut list = self.list.lock();
        // SAFETY: as in `add`.
        unsafe {
            match member.prev.get().as_ref() {
                Some(prev) => prev.next.set(member.next.get()),
                None => list.head = member.next.get(),
            }
            if let Some(next) = member.next.get().as_ref() {
                next.prev.set(member.prev.get());
            }
        }
        if let Some(labels) = &mut list.labels {
            labels.remove(&key(member));
        }
    }

    /// Changes what is said of a member. Called under the object's lock, so that it is one.
    fn label(&self, member: &Member, change: impl FnOnce(&mut Label)) -> Result<(), Errno> {
        let mut list = self.list.lock();
        let labels = list.labels.get_or_insert_default();
        labels.try_reserve(1).map_err(|_| Errno::NOMEM)?;
        change(labels.entry(key(member)).or_default());
        Ok(())
    }

    /// Names a member, for reports.
    pub fn set_name(&self, member: &Member, name: Option<CString>) -> Result<(), Errno> {
        self.label(member, |label| label.name = name)
    }

    /// Tags a member, whose handle this is; see [`Members::tagged`].
    pub fn set_tag(&self, member: &Member, token: Token, tag: u64) -> Result<(), Errno> {
        self.label(member, |label| {
            label.tag = tag;
            label.token = Some(token);
        })
    }

    /// Copies the name of a member, cut short where it does not fit, with a 0 behind it.
    pub fn copy_name(&self, member: &Member, to: &mut [u8]) {
        self.list.lock().copy_name(member, to);
    }

    /// Has the name of a member read, under the list's lock; an empty one where it has none.
    pub fn read_name<T>(&self, member: &Member, read: impl FnOnce(&[u8]) -> T) -> T {
        read(self.list.lock().name(member))
    }

    /// The tag of a member; 0 where it has none.
    pub fn tag(&self, member: &Member) -> u64 {
        let list = self.list.lock();
        let label = list.labels.as_ref().and_then(|labels| labels.get(&key(member)));
        label.map_or(0, |label| label.tag)
    }

    /// The handles of every member with this tag.
    pub fn tagged(&self, tag: u64) -> Result<Vec<Token>, Errno> {
        let mut found = Vec::new();
        let list = self.list.lock();
        for label in list.labels.iter().flat_map(HashMap::values) {
            if label.tag == tag
                && let Some(token) = label.token
            {
                found.try_reserve(1).map_err(|_| Errno::NOMEM)?;
                found.push(token);
            }
        }
        Ok(found)
    }

    /// What is open, oldest first.
    pub fn report(&self, sched: &Scheduler) -> Result<Vec<Line>, Errno> {
        let mut found = Vec::new();
        {
            let list = self.list.lock();
            let now = steps();
            let mut at = list.head;
            // SAFETY: members are type-stable, and the lock guards their links.
            while let Some(member) = unsafe { at.as_ref() } {
                let mut name = [0; NAME_ROOM];
                list.copy_name(member, &mut name);
                found.try_reserve(1).map_err(|_| Errno::NOMEM)?;
                let age = i64::from(now.wrapping_sub(member.born.get())) << STEP;
                found.push((NonNull::from(member), age, name));
                at = member.next.get();
            }
        }
        let mut lines = Vec::new();
        lines.try_reserve(found.len()).map_err(|_| Errno::NOMEM)?;
        for (member, age, name) in found.into_iter().rev() {
            // SAFETY: as in `close_all`.
            let told = unsafe { (member.as_ref().class().report)(member, sched) };
            if let Some((token, pending)) = told {
                lines.push(Line { token, name, age, pending });
            }
        }
        Ok(lines)
    }

    /// Has every member register with the context's epoll set anew. In a child of one thread only.
    pub fn renew(&self, sched: &Scheduler) {
        let mut at = self.list.lock().head;
        // SAFETY: members are type-stable; no other thread changes the list.
        while let Some(member) = unsafe { at.as_ref() } {
            at = member.next.get();
            if let Some(renew) = member.class().renew {
                // SAFETY: as in `close_all`.
                unsafe { renew(NonNull::from(member), sched) }
            }
        }
    }

    /// Closes every member; one after another, whatever they own of each other (H15).
    pub fn close_all(&self, sched: &Scheduler, caller: &Caller) {
        loop {
            let Some(first) = NonNull::new(self.list.lock().head.cast_mut()) else { return };
            // SAFETY: type-stable; the function checks under the object's lock that it is still in use.
            unsafe { (first.as_ref().class().close)(first, sched, caller) }
        }
    }
}

//! Lookups of names and addresses, on a pool of threads of their own.
//!
//! A thread that waits for an answer holds nothing of the context, not even a pin: its order is a copy, and names
//! the resolver by token and the lookup by number. When the answer comes it looks for the lookup again, and
//! drops the answer where there is none any more. So cancel, close and destruction never wait (H61).
#![allow(unsafe_code, reason = "tickets, and orders and answers that travel as numbers")]

use super::kind;
use crate::sched::completion::Callback;
use crate::sched::fork_gate;
use crate::sched::frame::Caller;
use crate::sched::object::{Body, Locked, Object};
use crate::sched::op::Op;
use crate::sched::scheduler::Scheduler;
use crate::sched::table::{Table, Token};
use crate::sched::thread_pool::{LOOKUPS, Task};
use crate::sched::ticket;
use crate::sched::try_box::try_box;
use crate::sys::address::Address;
use crate::sys::errno::Errno;
use crate::sys::netdb::{self, Hints, fault};
use libc::{c_int, c_void};
use std::ffi::{CStr, CString};
use std::mem;
use std::ptr::{self, NonNull};

/// Every resolver of the process.
#[cfg(not(loom))]
static TABLE: Table<Object<Resolver>> = Table::new();
#[cfg(loom)]
static TABLE: once_cell::sync::Lazy<Table<Object<Resolver>>> =
    once_cell::sync::Lazy::new(Table::new);

/// A resolver.
#[derive(Default)]
pub struct Resolver {
    /// In the order of their numbers.
    pending: Vec<Lookup>,
    /// The number of the next lookup.
    next: u64,
}

struct Lookup {
    id: u64,
    ticket: NonNull<Op>,
}

// SAFETY: the tickets are this object's.
unsafe impl Send for Resolver {}

impl Resolver {
    fn find(&self, id: u64) -> Option<usize> {
        self.pending.binary_search_by_key(&id, |lookup| lookup.id).ok()
    }
}

impl Body for Resolver {
    const KIND: u8 = kind::RESOLVER;

    fn vacant() -> Self {
        Resolver::default()
    }

    fn table() -> &'static Table<Object<Self>> {
        &TABLE
    }

    fn cancel(object: &mut Locked<Self>, caller: &Caller) -> usize {
        let ended = mem::take(&mut object.body().pending);
        for lookup in &ended {
            object.finish(caller, lookup.ticket, Errno::CANCELED.code(), 0);
        }
        ended.len()
    }

    fn cancel_of(object: &mut Locked<Self>, caller: &Caller, user: *mut c_void) -> usize {
        let mut count = 0;
        let mut at = 0;
        while let Some(ticket) = object.body().pending.get(at).map(|lookup| lookup.ticket) {
            if object.is_of(ticket, user) {
                object.body().pending.remove(at);
                object.finish(caller, ticket, Errno::CANCELED.code(), 0);
                count += 1;
            } else {
                at += 1;
            }
        }
        count
    }

    fn close(_: &mut Locked<Self>, _: &Caller) {}

    fn pending(&self) -> usize {
        self.pending.len()
    }

    fn renew(mut object: Locked<Self>, caller: &Caller) {
        Self::cancel(&mut object, caller);
    }
}

/// What a forward lookup found; the receiver's.
pub struct Addresses {
    /// In the order in which they were given.
    pub list: Vec<Address>,
    /// The canonical name, where one was asked for.
    pub canonical_name: Option<CString>,
}

/// What a reverse lookup found; the receiver's.
pub struct Names {
    /// The host.
    pub host: CString,
    /// The service.
    pub service: CString,
}

/// A forward lookup.
#[derive(Clone, Copy)]
pub struct Query<'a> {
    /// The host; none for an address of this machine.
    pub host: Option<&'a CStr>,
    /// The service.
    pub service: Option<&'a CStr>,
    /// What kind of addresses.
    pub hints: Hints,
}

enum Question {
    Forward { host: Option<CString>, service: Option<CString>, hints: Hints },
    Reverse { address: Address, flags: c_int },
}

/// What a thread of the pool is given.
struct Order {
    resolver: Token,
    id: u64,
    question: Question,
}

/// The longest name, as for `NI_MAXHOST`.
const NAME_MAX: usize = 1024;

fn copy(text: &CStr) -> Result<CString, Errno> {
    let bytes = text.to_bytes_with_nul();
    let mut copy = Vec::new();
    copy.try_reserve_exact(bytes.len()).map_err(|_| Errno::NOMEM)?;
    copy.extend_from_slice(bytes);
    CString::from_vec_with_nul(copy).map_err(|_| Errno::INVAL)
}

/// The number as which something travels.
fn number<T>(value: Box<T>) -> u64 {
    Box::into_raw(value).expose_provenance() as u64
}

/// # Safety
/// `number` came from [`number`] with this type, and is given up.
unsafe fn back<T>(number: u64) -> Option<Box<T>> {
    let pointer = ptr::with_exposed_provenance_mut::<T>(usize::try_from(number).unwrap_or(0));
    // SAFETY: promised by the caller.
    (!pointer.is_null()).then(|| unsafe { Box::from_raw(pointer) })
}

/// Frees what a forward lookup gave, or 0.
pub fn free_addresses(value: u64) {
    // SAFETY: the callers pass what `forward` made.
    drop(unsafe { back::<Addresses>(value) });
}

/// Frees what a reverse lookup gave, or 0.
pub fn free_names(value: u64) {
    // SAFETY: the callers pass what `reverse_now` made.
    drop(unsafe { back::<Names>(value) });
}

fn forward(query: Query) -> Result<u64, Errno> {
    let found = netdb::find(query.host, query.service, query.hints)?;
    let mut list = Vec::new();
    list.try_reserve_exact(found.addresses().count()).map_err(|_| Errno::NOMEM)?;
    list.extend(found.addresses());
    let canonical_name = found.canonical_name().map(copy).transpose()?;
    Ok(number(try_box(Addresses { list, canonical_name })?))
}

fn reverse_now(address: &Address, flags: c_int) -> Result<u64, Errno> {
    let names = netdb::name(address, flags)?;
    Ok(number(try_box(Names { host: copy(names.host())?, service: copy(names.service())? })?))
}

impl Question {
    fn ask(&self) -> Result<u64, Errno> {
        match self {
            Question::Forward { host, service, hints } => {
                let (host, service) = (host.as_deref(), service.as_deref());
                forward(Query { host, service, hints: *hints })
            }
            Question::Reverse { address, flags } => reverse_now(address, *flags),
        }
    }

    fn discard(&self) -> ticket::DiscardFn {
        match self {
            Question::Forward { .. } => free_addresses,
            Question::Reverse { .. } => free_names,
        }
    }
}

fn parts(answer: Result<u64, Errno>) -> (i32, u64) {
    match answer {
        Ok(value) => (0, value),
        Err(error) => (error.code(), 0),
    }
}

/// Makes a resolver.
pub fn create(sched: &'static Scheduler) -> Result<Token, Errno> {
    Object::create(sched, Resolver::default())
}

/// Looks up addresses.
pub fn resolve(
    caller: &Caller,
    resolver: Token,
    query: Query,
    callback: Callback,
    user: *mut c_void,
) -> Result<(), Errno> {
    let length = |name: Option<&CStr>| name.map_or(0, CStr::count_bytes);
    Object::<Resolver>::lock(resolver)?.check_open()?;
    if query.host.is_none() && query.service.is_none() {
        return Err(Errno::INVAL);
    }
    if length(query.host).max(length(query.service)) > NAME_MAX {
        return Err(Errno::NAMETOOLONG);
    }
    // Numbers are read here: that never blocks. Whether they are numbers is for the reader to say.
    let numeric = libc::AI_NUMERICHOST | libc::AI_NUMERICSERV;
    let mut hints = query.hints;
    hints.flags |= numeric;
    let answer = forward(Query { hints, ..query });
    if answer != Err(fault::NONAME) || query.hints.flags & numeric == numeric {
        return complete(caller, resolver, answer, free_addresses, (callback, user));
    }
    let host = query.host.map(copy).transpose()?;
    let service = query.service.map(copy).transpose()?;
    let question = Question::Forward { host, service, hints: query.hints };
    begin(resolver, question, (callback, user))
}

/// Looks up the names of an address; `flags` are NI_*.
pub fn reverse(
    caller: &Caller,
    resolver: Token,
    (address, flags): (Address, c_int),
    callback: Callback,
    user: *mut c_void,
) -> Result<(), Errno> {
    Object::<Resolver>::lock(resolver)?.check_open()?;
    if !matches!(address.family(), libc::AF_INET | libc::AF_INET6) {
        return Err(Errno::AFNOSUPPORT);
    }
    let numeric = libc::NI_NUMERICHOST | libc::NI_NUMERICSERV;
    if flags & numeric == numeric {
        let answer = reverse_now(&address, flags);
        return complete(caller, resolver, answer, free_names, (callback, user));
    }
    begin(resolver, Question::Reverse { address, flags }, (callback, user))
}

/// Completes a lookup whose answer is known.
fn complete(
    caller: &Caller,
    resolver: Token,
    answer: Result<u64, Errno>,
    discard: ticket::DiscardFn,
    (callback, user): (Callback, *mut c_void),
) -> Result<(), Errno> {
    let (status, value) = parts(answer);
    let done = ticket::new_with(callback, user, discard).and_then(|ticket| {
        let open = Object::<Resolver>::lock(resolver).and_then(|resolver| {
            resolver.check_open()?;
            Ok(resolver)
        });
        match open {
            Ok(mut resolver) => {
                resolver.complete(caller, ticket, status, value);
                Ok(())
            }
            Err(error) => {
                // SAFETY: it was not begun.
                unsafe { ticket::free(ticket) };
                Err(error)
            }
        }
    });
    if done.is_err() {
        discard(value);
    }
    done
}

/// Hands a lookup to the pool.
fn begin(
    token: Token,
    question: Question,
    (callback, user): (Callback, *mut c_void),
) -> Result<(), Errno> {
    let ticket = ticket::new_with(callback, user, question.discard())?;
    let begun = submit(token, question, ticket);
    if begun.is_err() {
        // SAFETY: it was not begun.
        unsafe { ticket::free(ticket) };
    }
    begun
}

fn submit(token: Token, question: Question, ticket: NonNull<Op>) -> Result<(), Errno> {
    let mut order = try_box(Order { resolver: token, id: 0, question })?;
    let mut resolver = Object::<Resolver>::lock(token)?;
    resolver.check_open()?;
    resolver.body().pending.try_reserve(1).map_err(|_| Errno::NOMEM)?;
    let id = resolver.body().next;
    order.id = id;
    let data = number(order);
    // A thread that takes the order waits for the lock.
    if let Err(error) = LOOKUPS.submit(Task { run, data }) {
        // SAFETY: nobody took it.
        drop(unsafe { back::<Order>(data) });
        return Err(error);
    }
    resolver.body().next = id.wrapping_add(1);
    resolver.begin();
    resolver.body().pending.push(Lookup { id, ticket });
    Ok(())
}

/// On a thread of the pool.
fn run(data: u64) {
    // SAFETY: from `submit`, which gave it away.
    let Some(order) = (unsafe { back::<Order>(data) }) else { return };
    let inside = fork_gate::enter();
    let wanted = Object::<Resolver>::lock(order.resolver)
        .is_ok_and(|mut resolver| resolver.body().find(order.id).is_some());
    drop(inside);
    if !wanted {
        return;
    }
    let (status, value) = parts(order.question.ask());
    let _inside = fork_gate::enter();
    if !finish(&order, status, value) {
        order.question.discard()(value);
    }
}

/// False when nobody waits for it any more.
fn finish(order: &Order, status: i32, value: u64) -> bool {
    let Ok(mut resolver) = Object::<Resolver>::lock(order.resolver) else { return false };
    let Some(at) = resolver.body().find(order.id) else { return false };
    let lookup = resolver.body().pending.remove(at);
    resolver.finish(&Caller::current(), lookup.ticket, status, value);
    true
}

/// Ends what is pending; the number.
pub fn cancel(caller: &Caller, resolver: Token) -> Result<usize, Errno> {
    Ok(Object::<Resolver>::lock(resolver)?.cancel(caller))
}

/// Ends the handle.
pub fn close(caller: &Caller, resolver: Token) -> Result<(), Errno> {
    Object::<Resolver>::lock(resolver)?.close(caller);
    Ok(())
}

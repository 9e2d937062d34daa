//! Lookups of names.

use super::handle::{
    address_in, code, context_of, count, deliver, open_context, pointer, resolver, weir_context,
    weir_resolver,
};
use crate::sched::completion::{Callback, OP_RESOLVE, OP_REVERSE, ResultFn};
use crate::sched::frame::Caller;
use crate::sched::object::Object;
use crate::sched::thread_pool::LOOKUPS;
use crate::services::resolver::{self as service, Addresses, Names, Query, Resolver};
use crate::sys::errno::Errno;
use crate::sys::netdb::Hints;
use libc::{c_char, c_int, c_void, sockaddr, socklen_t};
use std::ffi::CStr;
use std::mem::size_of;
use std::ptr;

/// The addresses that weir_resolver_resolve() found. Not a handle: plain memory, which weir_addresses_free()
/// frees, and which outlives the resolver and its context.
pub struct weir_addresses {
    _opaque: [u8; 0],
}

/// The names that weir_resolver_reverse() found. Not a handle: plain memory, which weir_names_free() frees, and
/// which outlives the resolver and its context.
pub struct weir_names {
    _opaque: [u8; 0],
}

/// Called with what a forward lookup found. `addresses` belongs to the receiver, who ends it with
/// weir_addresses_free(). It is NULL where `status` is negative.
pub type weir_resolve_callback = Option<
    unsafe extern "C-unwind" fn(status: c_int, addresses: *mut weir_addresses, user: *mut c_void),
>;

/// Called with what a reverse lookup found. `names` belongs to the receiver, who ends it with
/// weir_names_free(). It is NULL where `status` is negative.
pub type weir_reverse_callback =
    Option<unsafe extern "C-unwind" fn(status: c_int, names: *mut weir_names, user: *mut c_void)>;

/// Lookup flag: a NULL host is the wildcard, for a bind; without it, loopback. AI_PASSIVE.
pub const WEIR_RESOLVE_PASSIVE: u32 = 1;
/// Lookup flag: also find the canonical name of the host. AI_CANONNAME.
pub const WEIR_RESOLVE_CANONICAL_NAME: u32 = 2;
/// Lookup flag: the host is an address; a name is WEIR_EAI_NONAME. AI_NUMERICHOST.
pub const WEIR_RESOLVE_NUMERIC_HOST: u32 = 4;
/// Lookup flag: the service is a number; a name is WEIR_EAI_NONAME. AI_NUMERICSERV.
pub const WEIR_RESOLVE_NUMERIC_SERVICE: u32 = 8;
/// Lookup flag: only families of which this machine has an address. AI_ADDRCONFIG.
pub const WEIR_RESOLVE_ADDRESS_CONFIGURED: u32 = 16;
/// Lookup flag: with AF_INET6, IPv4 addresses in their IPv6 form where there are no others. AI_V4MAPPED.
pub const WEIR_RESOLVE_V4_MAPPED: u32 = 32;
/// Lookup flag: with WEIR_RESOLVE_V4_MAPPED, both. AI_ALL.
pub const WEIR_RESOLVE_ALL: u32 = 64;

/// Reverse flag: the host as an address. NI_NUMERICHOST.
pub const WEIR_REVERSE_NUMERIC_HOST: u32 = 1;
/// Reverse flag: the service as a number. NI_NUMERICSERV.
pub const WEIR_REVERSE_NUMERIC_SERVICE: u32 = 2;
/// Reverse flag: WEIR_EAI_NONAME where the host has no name, not its address. NI_NAMEREQD.
pub const WEIR_REVERSE_NAME_REQUIRED: u32 = 4;
/// Reverse flag: the service's name with datagrams, where it differs. NI_DGRAM.
pub const WEIR_REVERSE_DATAGRAM: u32 = 8;

/// What kind of addresses is wanted. Set everything to 0 and struct_size to sizeof(weir_resolve_hints). A
/// struct_size larger than the library knows is accepted if the rest is 0.
#[repr(C)]
pub struct weir_resolve_hints {
    /// sizeof(weir_resolve_hints).
    pub struct_size: usize,
    /// WEIR_RESOLVE_... flags; an unknown one is WEIR_EINVAL.
    pub flags: u32,
    /// AF_INET or AF_INET6; 0 for both.
    pub family: c_int,
    /// SOCK_STREAM, SOCK_DGRAM or SOCK_RAW; 0 for that of `protocol`, or for SOCK_STREAM if that is 0 too.
    pub socktype: c_int,
    /// IPPROTO_...; 0 for that of `socktype`.
    pub protocol: c_int,
}

const RESOLVE_FLAGS: [(u32, c_int); 7] = [
    (WEIR_RESOLVE_PASSIVE, libc::AI_PASSIVE),
    (WEIR_RESOLVE_CANONICAL_NAME, libc::AI_CANONNAME),
    (WEIR_RESOLVE_NUMERIC_HOST, libc::AI_NUMERICHOST),
    (WEIR_RESOLVE_NUMERIC_SERVICE, libc::AI_NUMERICSERV),
    (WEIR_RESOLVE_ADDRESS_CONFIGURED, libc::AI_ADDRCONFIG),
    (WEIR_RESOLVE_V4_MAPPED, libc::AI_V4MAPPED),
    (WEIR_RESOLVE_ALL, libc::AI_ALL),
];

const REVERSE_FLAGS: [(u32, c_int); 4] = [
    (WEIR_REVERSE_NUMERIC_HOST, libc::NI_NUMERICHOST),
    (WEIR_REVERSE_NUMERIC_SERVICE, libc::NI_NUMERICSERV),
    (WEIR_REVERSE_NAME_REQUIRED, libc::NI_NAMEREQD),
    (WEIR_REVERSE_DATAGRAM, libc::NI_DGRAM),
];

/// The system's flags for the library's.
fn flags(given: u32, known: &[(u32, c_int)]) -> Result<c_int, Errno> {
    let (mut rest, mut flags) = (given, 0);
    for (ours, theirs) in known {
        if given & ours != 0 {
            rest &= !ours;
            flags |= theirs;
        }
    }
    if rest == 0 { Ok(flags) } else { Err(Errno::INVAL) }
}

/// # Safety
/// `hints` is NULL or points to `struct_size` readable bytes.
unsafe fn hints_in(hints: *const weir_resolve_hints) -> Result<Hints, Errno> {
    let mut taken = Hints { socktype: libc::SOCK_STREAM, ..Hints::default() };
    if hints.is_null() {
        return Ok(taken);
    }
    // SAFETY: the first field is there in every version of the struct.
    let size = unsafe { (*hints).struct_size };
    let known = size_of::<weir_resolve_hints>();
    // 4096: no version is larger, so a wild size is not read through.
    if !(known..=4096).contains(&size) {
        return Err(Errno::INVAL);
    }
    // SAFETY: `size` bytes are readable, promised by the caller.
    let given = unsafe {
        let rest = std::slice::from_raw_parts(hints.cast::<u8>().add(known), size - known);
        if rest.iter().any(|byte| *byte != 0) {
            return Err(Errno::INVAL);
        }
        hints.read()
    };
    taken.flags = flags(given.flags, &RESOLVE_FLAGS)?;
    taken.family = given.family;
    taken.protocol = given.protocol;
    if given.socktype != 0 || given.protocol != 0 {
        taken.socktype = given.socktype;
    }
    Ok(taken)
}

/// # Safety
/// `text` is NULL or a string that lives long enough.
unsafe fn text_in<'a>(text: *const c_char) -> Option<&'a CStr> {
    // SAFETY: promised by the caller.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) })
}

/// The callbacks as the services see them: a result is a pointer to something opaque.
fn resolve_fn(callback: weir_resolve_callback) -> Callback {
    // SAFETY: the types differ in what an opaque pointer points to, which no ABI sees.
    let callback =
        unsafe { std::mem::transmute::<weir_resolve_callback, Option<ResultFn>>(callback) };
    callback.map_or(Callback::Record(OP_RESOLVE), Callback::Result)
}

fn reverse_fn(callback: weir_reverse_callback) -> Callback {
    // SAFETY: as in `resolve_fn`.
    let callback =
        unsafe { std::mem::transmute::<weir_reverse_callback, Option<ResultFn>>(callback) };
    callback.map_or(Callback::Record(OP_REVERSE), Callback::Result)
}

/// Makes a resolver of a context. End it with weir_resolver_close().
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`out` is NULL), WEIR_ENOMEM, WEIR_ESHUTDOWN.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_resolver_create(
    context: *mut weir_context,
    out: *mut *mut weir_resolver,
) -> c_int {
    let caller = Caller::current();
    // SAFETY: promised by the caller.
    unsafe { deliver(out, || service::create(*open_context(&caller, context)?).map(pointer)) }
}

/// Ends a resolver. Pending lookups complete with WEIR_ECANCELED, later, in run; a thread that still waits for an
/// answer drops it when it comes.
///
/// Errors: WEIR_EBADF.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_resolver_close(resolver: *mut weir_resolver) -> c_int {
    let caller = Caller::current();
    code(self::resolver(resolver).and_then(|resolver| service::close(&caller, resolver)))
}

/// Ends every pending lookup with WEIR_ECANCELED, at once, however long the name server takes; new ones may begin.
/// The thread that waits for the name server stays occupied until it answers. `count`, which may be NULL,
/// receives how many were ended.
///
/// Errors: WEIR_EBADF.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_resolver_cancel(
    resolver: *mut weir_resolver,
    count: *mut usize,
) -> c_int {
    let caller = Caller::current();
    let ended = self::resolver(resolver).and_then(|resolver| service::cancel(&caller, resolver));
    // SAFETY: promised by the caller.
    unsafe { self::count(count, ended) }
}

/// The context that the resolver belongs to.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`out` is NULL).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_resolver_context(
    resolver: *mut weir_resolver,
    out: *mut *mut weir_context,
) -> c_int {
    // SAFETY: promised by the caller.
    unsafe {
        deliver(out, || context_of(Object::<Resolver>::lock(self::resolver(resolver)?)?.sched))
    }
}

/// Looks up the addresses of `host` and `service`, as getaddrinfo(3) does, on a thread of the library's. Any number
/// of lookups may be pending on a resolver; they complete in any order. What the pointers point to is copied.
///
/// `host` is a name or an address, an IPv6 address with its scope if need be ("fe80::1%eth0"); NULL is this machine,
/// see WEIR_RESOLVE_PASSIVE. `service` is a name or a port number; NULL gives port 0. `hints` may be NULL: stream
/// sockets of both families. Where host and service are numbers, or NULL, no thread is needed.
///
/// The callback receives 0 and at least one address, in the order in which they should be tried, or WEIR_ECANCELED,
/// WEIR_EAI_..., WEIR_ENOMEM, or the errno of getaddrinfo's EAI_SYSTEM.
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (`host` and `service` are NULL, or the hints), -ENAMETOOLONG (more than
/// 1024 bytes), WEIR_ENOMEM, WEIR_ESHUTDOWN, -EAGAIN (there is no thread, and none can be started).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_resolver_resolve(
    resolver: *mut weir_resolver,
    host: *const c_char,
    service: *const c_char,
    hints: *const weir_resolve_hints,
    callback: weir_resolve_callback,
    user: *mut c_void,
) -> c_int {
    let caller = Caller::current();
    code(self::resolver(resolver).and_then(|resolver| {
        // SAFETY: promised by the caller.
        let query = unsafe {
            let hints = hints_in(hints)?;
            Query { host: text_in(host), service: text_in(service), hints }
        };
        service::resolve(&caller, resolver, query, resolve_fn(callback), user)
    }))
}

/// Looks up the names of an address and its port, as getnameinfo(3) does, on a thread of the library's; without one
/// where `flags` ask for both as numbers. Otherwise as weir_resolver_resolve(). `flags` are WEIR_REVERSE_...
///
/// Errors: WEIR_EBADF, WEIR_EINVAL (address or flags), -EAFNOSUPPORT (not AF_INET or AF_INET6), WEIR_ENOMEM,
/// WEIR_ESHUTDOWN, -EAGAIN (there is no thread, and none can be started).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_resolver_reverse(
    resolver: *mut weir_resolver,
    address: *const sockaddr,
    length: socklen_t,
    flags: u32,
    callback: weir_reverse_callback,
    user: *mut c_void,
) -> c_int {
    let caller = Caller::current();
    code(self::resolver(resolver).and_then(|resolver| {
        // SAFETY: promised by the caller.
        let address = unsafe { address_in(address, length) }?;
        let flags = self::flags(flags, &REVERSE_FLAGS)?;
        service::reverse(&caller, resolver, (address, flags), reverse_fn(callback), user)
    }))
}

/// How many threads of the process may wait for lookups at once: 1 to 1024; default 16. They are not those of jobs,
/// start when they are needed and go when they are idle. Lookups beyond the limit wait for their turn. A
/// larger limit counts from the next lookup that is begun.
///
/// Errors: WEIR_EINVAL.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_resolver_set_limit(threads: u32) -> c_int {
    if !(1..=1024).contains(&threads) {
        return Errno::INVAL.code();
    }
    LOOKUPS.set_limit(threads as usize);
    0
}

/// # Safety
/// NULL, or from a lookup and not freed.
unsafe fn addresses_in<'a>(addresses: *const weir_addresses) -> Option<&'a Addresses> {
    // SAFETY: promised by the caller.
    unsafe { addresses.cast::<Addresses>().as_ref() }
}

/// # Safety
/// NULL, or from a lookup and not freed.
unsafe fn names_in<'a>(names: *const weir_names) -> Option<&'a Names> {
    // SAFETY: promised by the caller.
    unsafe { names.cast::<Names>().as_ref() }
}

/// How many addresses there are; 0 for NULL.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_addresses_count(addresses: *const weir_addresses) -> usize {
    // SAFETY: promised by the caller.
    unsafe { addresses_in(addresses) }.map_or(0, |addresses| addresses.list.len())
}

/// One of the addresses, counted from 0; it may be used until weir_addresses_free().
///
/// Errors: WEIR_EINVAL (NULL, or there is no such address).
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_addresses_get(
    addresses: *const weir_addresses,
    index: usize,
    address: *mut *const sockaddr,
    length: *mut socklen_t,
) -> c_int {
    // SAFETY: promised by the caller.
    let found = unsafe { addresses_in(addresses) }.and_then(|all| all.list.get(index));
    let Some(found) = found.filter(|_| !address.is_null() && !length.is_null()) else {
        return Errno::INVAL.code();
    };
    // SAFETY: not NULL; promised by the caller.
    unsafe {
        address.write(found.as_ptr());
        length.write(found.len());
    }
    0
}

/// The canonical name, which may be used until weir_addresses_free(); NULL where WEIR_RESOLVE_CANONICAL_NAME was not
/// given, or for NULL.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_addresses_canonical_name(
    addresses: *const weir_addresses,
) -> *const c_char {
    // SAFETY: promised by the caller.
    unsafe { addresses_in(addresses) }
        .and_then(|addresses| addresses.canonical_name.as_ref())
        .map_or(ptr::null(), |name| name.as_ptr())
}

/// Frees the addresses. NULL is allowed.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_addresses_free(addresses: *mut weir_addresses) {
    service::free_addresses(addresses.expose_provenance() as u64);
}

/// The name of the host, or its address where it has none; it may be used until weir_names_free(). NULL for NULL.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_names_host(names: *const weir_names) -> *const c_char {
    // SAFETY: promised by the caller.
    unsafe { names_in(names) }.map_or(ptr::null(), |names| names.host.as_ptr())
}

/// The name of the service, or the number of the port where it has none; it may be used until weir_names_free().
/// NULL for NULL.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_names_service(names: *const weir_names) -> *const c_char {
    // SAFETY: promised by the caller.
    unsafe { names_in(names) }.map_or(ptr::null(), |names| names.service.as_ptr())
}

/// Frees the names. NULL is allowed.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn weir_names_free(names: *mut weir_names) {
    service::free_names(names.expose_provenance() as u64);
}

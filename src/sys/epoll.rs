//! Readiness: epoll(7).
#![allow(unsafe_code, reason = "calls libc")]

use super::errno::{Errno, check};
#[cfg(all(test, not(loom)))]
use super::fault;
use super::fd;
use libc::{c_int, c_long, epoll_event};
use std::os::fd::RawFd;
use std::ptr;

/// There is something to read, or a connection to accept.
pub const IN: u32 = libc::EPOLLIN as u32;
/// There is room to write, or a connect has ended.
pub const OUT: u32 = libc::EPOLLOUT as u32;
/// There is something exceptional, such as urgent data.
pub const PRI: u32 = libc::EPOLLPRI as u32;
/// The peer has ended its direction.
pub const RDHUP: u32 = libc::EPOLLRDHUP as u32;
/// There is an error; reported whether asked for or not.
pub const ERR: u32 = libc::EPOLLERR as u32;
/// Both directions have ended; reported whether asked for or not.
pub const HUP: u32 = libc::EPOLLHUP as u32;
/// Report changes only.
pub const ET: u32 = libc::EPOLLET as u32;

const NANOS_PER_MILLI: i64 = 1_000_000;
const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// How long `Epoll::wait` may block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Timeout {
    /// Not at all.
    Now,
    /// Until there is an event.
    Never,
    /// So many nanoseconds; not at all where they are not positive.
    Nanos(i64),
}

/// The timespec of the system call, which is 64 bits wide on every machine.
#[repr(C)]
struct KernelTimespec {
    seconds: i64,
    nanoseconds: i64,
}

/// Room for the events of one `Epoll::wait`, of a size fixed for good.
pub struct EventBuffer {
    events: Vec<epoll_event>,
    capacity: c_int,
    /// The kernel, or a filter around the process, has no epoll_pwait2. Kept here because whoever waits
    /// has the buffer to itself: no atomic is needed, and one vain call for each buffer costs nothing.
    milliseconds_only: bool,
}

impl EventBuffer {
    /// Room for `capacity` events. EINVAL for 0 or more than the kernel takes; ENOMEM.
    pub fn new(capacity: usize) -> Result<EventBuffer, Errno> {
        let limit = c_int::MAX as usize / size_of::<epoll_event>();
        if capacity == 0 || capacity > limit {
            return Err(Errno::INVAL);
        }
        let mut events = Vec::new();
        events.try_reserve_exact(capacity).map_err(|_| Errno::NOMEM)?;
        events.resize(capacity, epoll_event { events: 0, u64: 0 });
        let capacity = c_int::try_from(capacity).map_err(|_| Errno::INVAL)?;
        Ok(EventBuffer { events, capacity, milliseconds_only: false })
    }

    /// False once a wait has found that the kernel counts in milliseconds.
    pub fn is_exact(&self) -> bool {
        !self.milliseconds_only
    }

    /// How many events it has room for.
    pub fn capacity(&self) -> usize {
        self.capacity as usize
    }

    /// All of it, for a simulation to change the order of what was found.
    #[cfg(weir_sim)]
    pub fn events_mut(&mut self) -> &mut [epoll_event] {
        &mut self.events
    }

    /// Has a simulation's next wait take less.
    #[cfg(weir_sim)]
    pub fn set_limit(&mut self, limit: usize) {
        self.capacity = c_int::try_from(limit).unwrap_or(1);
    }

    /// The first `count` events, each as the mask of what is ready and the data of the registration.
    #[inline]
    pub fn iter(&self, count: usize) -> impl Iterator<Item = (u32, u64)> + '_ {
        self.events.iter().take(count).map(|event| (event.events, event.u64))
    }
}

/// An epoll set. Closed when dropped.
pub struct Epoll {
    fd: RawFd,
}

impl Epoll {
    /// Makes an empty set.
    pub fn new() -> Result<Epoll, Errno> {
        #[cfg(all(test, not(loom)))]
        fault::check(fault::Call::EpollCreate)?;
        // SAFETY: takes a number only.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        Ok(Epoll { fd })
    }

    /// The set's fd, which stays its own. Readable while there are events.
    #[inline]
    pub fn raw(&self) -> RawFd {
        self.fd
    }

    /// Registers an fd. Its events carry `data`.
    pub fn add(&self, fd: RawFd, events: u32, data: u64) -> Result<(), Errno> {
        #[cfg(all(test, not(loom)))]
        fault::check(fault::Call::EpollAdd)?;
        self.control(libc::EPOLL_CTL_ADD, fd, events, data)
    }

    /// Replaces the interest and the data of a registration. What is ready is reported anew.
    pub fn modify(&self, fd: RawFd, events: u32, data: u64) -> Result<(), Errno> {
        #[cfg(all(test, not(loom)))]
        fault::check(fault::Call::EpollModify)?;
        self.control(libc::EPOLL_CTL_MOD, fd, events, data)
    }

    /// Takes a registration out. To be called before the fd is closed: while another process holds a
    /// copy the kernel would go on reporting it.
    pub fn delete(&self, fd: RawFd) -> Result<(), Errno> {
        self.control(libc::EPOLL_CTL_DEL, fd, 0, 0)
    }

    fn control(&self, operation: c_int, fd: RawFd, events: u32, data: u64) -> Result<(), Errno> {
        let mut event = epoll_event { events, u64: data };
        // SAFETY: `event` lives through the call.
        check(unsafe { libc::epoll_ctl(self.fd, operation, fd, &raw mut event) }).map(drop)
    }

    /// Waits for events; their number, at most the buffer's capacity. The one wait that finds out that the kernel counts
    /// in milliseconds has none; otherwise none ends before the timeout without an event. EINTR: by a signal.
    #[inline]
    pub fn wait(&self, buffer: &mut EventBuffer, timeout: Timeout) -> Result<usize, Errno> {
        match timeout {
            Timeout::Now => self.wait_millis(buffer, 0),
            Timeout::Never => self.wait_millis(buffer, -1),
            Timeout::Nanos(nanos) if nanos <= 0 => self.wait_millis(buffer, 0),
            Timeout::Nanos(nanos) => self.wait_nanos(buffer, nanos),
        }
    }

    #[inline]
    fn wait_millis(&self, buffer: &mut EventBuffer, millis: c_int) -> Result<usize, Errno> {
        let events = buffer.events.as_mut_ptr();
        // SAFETY: the buffer has room for `capacity` events.
        let count = check(unsafe { libc::epoll_wait(self.fd, events, buffer.capacity, millis) })?;
        Ok(count as usize)
    }

    fn wait_nanos(&self, buffer: &mut EventBuffer, nanos: i64) -> Result<usize, Errno> {
        if !buffer.milliseconds_only {
            match self.wait_exactly(buffer, nanos) {
                // EPERM is what filters say to calls that are newer than they are.
                Err(Errno::NOSYS | Errno::PERM) => {
                    buffer.milliseconds_only = true;
                    return Ok(0);
                }
                answer => return answer,
            }
        }
        self.wait_millis(buffer, round_up_to_millis(nanos))
    }

    fn wait_exactly(&self, buffer: &mut EventBuffer, nanos: i64) -> Result<usize, Errno> {
        let timeout = KernelTimespec {
            seconds: nanos / NANOS_PER_SECOND,
            nanoseconds: nanos % NANOS_PER_SECOND,
        };
        let capacity = c_long::from(buffer.capacity);
        // SAFETY: the buffer has room for `capacity` events; the timespec lives through the call; a NULL
        // signal mask leaves the thread's own.
        let answer = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                c_long::from(self.fd),
                buffer.events.as_mut_ptr(),
                capacity,
                &raw const timeout,
                ptr::null::<libc::sigset_t>(),
                0_usize,
            )
        };
        usize::try_from(answer).map_err(|_| Errno::last())
    }
}

impl Drop for Epoll {
    fn drop(&mut self) {
        fd::close(self.fd);
    }
}

/// A positive time in whole milliseconds, never less than it; the longest that epoll_wait takes instead
/// of a longer one.
fn round_up_to_millis(nanos: i64) -> c_int {
    let up = nanos / NANOS_PER_MILLI + i64::from(nanos % NANOS_PER_MILLI > 0);
    c_int::try_from(up).unwrap_or(c_int::MAX)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::sys::eventfd::EventFd;
    use crate::sys::{clock, fd};

    fn seen(epoll: &Epoll, buffer: &mut EventBuffer, timeout: Timeout) -> Vec<(u32, u64)> {
        let count = epoll.wait(buffer, timeout).unwrap();
        buffer.iter(count).collect()
    }

    #[test]
    fn events_carry_the_data_of_their_registration() {
        let (epoll, event) = (Epoll::new().unwrap(), EventFd::new().unwrap());
        let mut buffer = EventBuffer::new(4).unwrap();
        epoll.add(event.raw(), IN, u64::MAX - 7).unwrap();
        assert_eq!(seen(&epoll, &mut buffer, Timeout::Now), []);
        event.write();
        assert_eq!(seen(&epoll, &mut buffer, Timeout::Never), [(IN, u64::MAX - 7)]);
        epoll.modify(event.raw(), IN | OUT, 9).unwrap();
        assert_eq!(seen(&epoll, &mut buffer, Timeout::Nanos(i64::MAX)), [(IN | OUT, 9)]);
        epoll.delete(event.raw()).unwrap();
        assert_eq!(seen(&epoll, &mut buffer, Timeout::Now), []);
    }

    #[test]
    fn h46_an_edge_comes_with_each_write_and_only_then() {
        let (epoll, event) = (Epoll::new().unwrap(), EventFd::new().unwrap());
        let mut buffer = EventBuffer::new(4).unwrap();
        epoll.add(event.raw(), IN | ET, 1).unwrap();
        for _ in 0..3 {
            event.write();
            let limit = Timeout::Nanos(60 * NANOS_PER_SECOND);
            assert_eq!(seen(&epoll, &mut buffer, limit), [(IN, 1)]);
            assert_eq!(seen(&epoll, &mut buffer, Timeout::Now), []);
        }
    }

    #[test]
    fn no_more_events_than_the_buffer_holds() {
        let epoll = Epoll::new().unwrap();
        let events: Vec<EventFd> = (0..5).map(|_| EventFd::new().unwrap()).collect();
        for (data, event) in (0..).zip(&events) {
            epoll.add(event.raw(), OUT, data).unwrap();
        }
        let mut buffer = EventBuffer::new(3).unwrap();
        assert_eq!(epoll.wait(&mut buffer, Timeout::Now), Ok(3));
        assert_eq!(buffer.iter(3).count(), 3);
        assert_eq!(buffer.iter(usize::MAX).count(), 3);
    }

    #[test]
    fn a_wait_is_never_shorter_than_asked() {
        let epoll = Epoll::new().unwrap();
        let mut buffer = EventBuffer::new(1).unwrap();
        for milliseconds_only in [false, true] {
            buffer.milliseconds_only = milliseconds_only;
            for nanos in [1, 300_000, 2_500_000] {
                let begin = clock::monotonic();
                assert_eq!(epoll.wait(&mut buffer, Timeout::Nanos(nanos)), Ok(0));
                assert!(clock::monotonic() - begin >= nanos);
            }
            assert_eq!(epoll.wait(&mut buffer, Timeout::Nanos(0)), Ok(0));
            assert_eq!(epoll.wait(&mut buffer, Timeout::Nanos(i64::MIN)), Ok(0));
        }
    }

    #[test]
    fn h04_milliseconds_are_rounded_up() {
        assert_eq!(round_up_to_millis(1), 1);
        assert_eq!(round_up_to_millis(1_000_000), 1);
        assert_eq!(round_up_to_millis(1_000_001), 2);
        assert_eq!(round_up_to_millis(i64::from(c_int::MAX) * 1_000_000), c_int::MAX);
        assert_eq!(round_up_to_millis(i64::MAX), c_int::MAX);
    }

    #[test]
    fn h12_what_epoll_refuses_is_an_error() {
        let (epoll, event) = (Epoll::new().unwrap(), EventFd::new().unwrap());
        assert_eq!(epoll.add(-1, IN, 0), Err(Errno::BADF));
        assert_eq!(epoll.modify(event.raw(), IN, 0), Err(Errno::NOENT));
        assert_eq!(epoll.delete(event.raw()), Err(Errno::NOENT));
        epoll.add(event.raw(), IN, 0).unwrap();
        assert_eq!(epoll.add(event.raw(), IN, 0), Err(Errno::EXIST));
        let file = std::fs::File::open("/proc/self/exe").unwrap();
        assert_eq!(epoll.add(std::os::fd::AsRawFd::as_raw_fd(&file), IN, 0), Err(Errno::PERM));
    }

    #[test]
    fn buffers_of_a_senseless_size_are_refused() {
        assert_eq!(EventBuffer::new(0).err(), Some(Errno::INVAL));
        assert_eq!(EventBuffer::new(usize::MAX).err(), Some(Errno::INVAL));
    }

    #[test]
    fn h32_the_set_is_close_on_exec_and_closed_when_dropped() {
        let epoll = Epoll::new().unwrap();
        // A number that no parallel test is given.
        // SAFETY: takes numbers only.
        let high = unsafe { libc::fcntl(epoll.raw(), libc::F_DUPFD_CLOEXEC, 700) };
        assert!(high >= 700);
        // SAFETY: takes numbers only.
        let flags = unsafe { libc::fcntl(epoll.raw(), libc::F_GETFD) };
        assert_eq!(flags, libc::FD_CLOEXEC);
        drop(Epoll { fd: high });
        assert!(!fd::is_valid(high));
    }
}

//! Child processes, by pidfd where the kernel has it, else by pid.
#![allow(unsafe_code, reason = "calls libc")]

use super::errno::{Errno, retry};
use libc::{c_int, pid_t, rusage, siginfo_t};
use std::mem::MaybeUninit;
use std::os::fd::RawFd;

/// How a child is named to the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Child {
    /// By a pidfd: no other process ever has it.
    Fd(RawFd),
    /// By its number, which is its own until it is waited for.
    Pid(pid_t),
}

/// How a child ended.
pub struct Exit {
    /// The wait status, as waitpid(2) has it.
    pub status: c_int,
    /// What it has used.
    pub usage: rusage,
}

/// Opens a pidfd; close-on-exec always. It becomes readable when the process ends.
pub fn open(pid: pid_t) -> Result<RawFd, Errno> {
    // SAFETY: plain numbers.
    let fd = retry(|| unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) as c_int })?;
    Ok(fd)
}

/// A process that is not allowed is told apart from a kernel that has no pidfds.
pub fn is_missing(error: Errno) -> bool {
    matches!(error.0, libc::ENOSYS | libc::EPERM | libc::EINVAL)
}

fn wait(child: Child, options: c_int) -> Result<Option<Exit>, Errno> {
    let (kind, id) = match child {
        Child::Fd(fd) => (libc::P_PIDFD, fd),
        Child::Pid(pid) => (libc::P_PID, pid),
    };
    let mut info = MaybeUninit::<siginfo_t>::zeroed();
    let mut usage = MaybeUninit::<rusage>::zeroed();
    // The system call itself: libc's function does not tell what the child used.
    // SAFETY: both live through the call.
    retry(|| unsafe {
        libc::syscall(libc::SYS_waitid, kind, id, info.as_mut_ptr(), options, usage.as_mut_ptr())
            as c_int
    })?;
    // SAFETY: zeroed, then perhaps written by the kernel.
    let (info, usage) = unsafe { (info.assume_init(), usage.assume_init()) };
    // SAFETY: these fields are those of a child's signal, or still zero.
    let (pid, code) = unsafe { (info.si_pid(), info.si_status()) };
    if pid == 0 {
        return Ok(None);
    }
    let status = match info.si_code {
        libc::CLD_EXITED => (code & 0xff) << 8,
        libc::CLD_DUMPED => code | 0x80,
        _ => code,
    };
    Ok(Some(Exit { status, usage }))
}

/// Reaps a child that has ended; `None` while it runs. `ECHILD`: it is no child of this process, or somebody else has
/// reaped it.
pub fn reap(child: Child) -> Result<Option<Exit>, Errno> {
    wait(child, libc::WEXITED | libc::WNOHANG)
}

/// Fails with `ECHILD` where it is no child of this process. Changes nothing.
pub fn check(child: Child) -> Result<(), Errno> {
    wait(child, libc::WEXITED | libc::WNOHANG | libc::WNOWAIT).map(|_| ())
}

/// Sends a signal.
pub fn kill(child: Child, signo: c_int) -> Result<(), Errno> {
    // SAFETY: plain numbers.
    retry(|| unsafe {
        match child {
            Child::Fd(fd) => {
                libc::syscall(libc::SYS_pidfd_send_signal, fd, signo, 0_usize, 0) as c_int
            }
            Child::Pid(pid) => libc::kill(pid, signo),
        }
    })
    .map(|_| ())
}

//! Codes and their names.
//!
//! Every code is 0 or negative: an errno of Linux, or one of the few beyond errno's range.

use libc::{c_char, c_int};
use std::ffi::CStr;

/// The end of a stream: the peer has sent all that it will.
pub const WEIR_EOF: c_int = -10001;
/// EAI_ADDRFAMILY: the host has no address of that family.
pub const WEIR_EAI_ADDRFAMILY: c_int = -10101;
/// EAI_AGAIN: the name server did not answer; a later try may succeed.
pub const WEIR_EAI_AGAIN: c_int = -10102;
/// EAI_BADFLAGS: the flags of a lookup do not go together.
pub const WEIR_EAI_BADFLAGS: c_int = -10103;
/// EAI_FAIL: the name server failed for good, or gave a reason that has no code.
pub const WEIR_EAI_FAIL: c_int = -10104;
/// EAI_FAMILY: lookups do not know that address family.
pub const WEIR_EAI_FAMILY: c_int = -10105;
/// EAI_NODATA: the host exists and has no address.
pub const WEIR_EAI_NODATA: c_int = -10106;
/// EAI_NONAME: the host or the service is not known.
pub const WEIR_EAI_NONAME: c_int = -10107;
/// EAI_OVERFLOW: a name is too long.
pub const WEIR_EAI_OVERFLOW: c_int = -10108;
/// EAI_SERVICE: that socket type does not have the service.
pub const WEIR_EAI_SERVICE: c_int = -10109;
/// EAI_SOCKTYPE: lookups do not know that socket type.
pub const WEIR_EAI_SOCKTYPE: c_int = -10110;
/// -ECANCELED: ended by cancel, close or destruction.
pub const WEIR_ECANCELED: c_int = -125;
/// -EBADF: the handle is stale, closed, NULL, forged or of another type.
pub const WEIR_EBADF: c_int = -9;
/// -EINVAL: an argument is not valid.
pub const WEIR_EINVAL: c_int = -22;
/// -EBUSY: an operation of that direction is pending, or the context is in use by the caller.
pub const WEIR_EBUSY: c_int = -16;
/// -ENOMEM: out of memory.
pub const WEIR_ENOMEM: c_int = -12;
/// -ETIMEDOUT: a time limit passed.
pub const WEIR_ETIMEDOUT: c_int = -110;
/// -ESHUTDOWN: the context is being destroyed and begins nothing new.
pub const WEIR_ESHUTDOWN: c_int = -108;
/// -ENOTCONN: the handle has no socket, or it is not connected.
pub const WEIR_ENOTCONN: c_int = -107;
/// -EISCONN: the socket is connected already.
pub const WEIR_EISCONN: c_int = -106;

/// What a code means, in a few words of English: "connection refused". Static; never NULL, also for a number
/// that is no code. 0 is "success".
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_strerror(code: c_int) -> *const c_char {
    lookup(code).1.as_ptr()
}

/// The name of a code: "ECONNREFUSED", "WEIR_EOF", "OK" for 0, "UNKNOWN" for a number that is no code. Static;
/// never NULL.
///
/// Thread: any; never blocks.
#[unsafe(no_mangle)]
pub extern "C" fn weir_error_name(code: c_int) -> *const c_char {
    lookup(code).0.as_ptr()
}

fn lookup(code: c_int) -> (&'static CStr, &'static CStr) {
    match code {
        0 => (c"OK", c"success"),
        WEIR_EOF => (c"WEIR_EOF", c"end of stream"),
        _ => LOOKUPS
            .iter()
            .find(|row| row.0 == code)
            .map_or_else(|| errno(code), |row| (row.1, row.2)),
    }
}

fn errno(code: c_int) -> (&'static CStr, &'static CStr) {
    ERRNOS
        .iter()
        .find(|row| Some(row.0) == code.checked_neg())
        .map_or((c"UNKNOWN", c"unknown error"), |row| (row.1, row.2))
}

/// What getaddrinfo and getnameinfo may say.
static LOOKUPS: [(c_int, &CStr, &CStr); 10] = [
    (WEIR_EAI_ADDRFAMILY, c"WEIR_EAI_ADDRFAMILY", c"host has no address of that family"),
    (WEIR_EAI_AGAIN, c"WEIR_EAI_AGAIN", c"name lookup failed for now"),
    (WEIR_EAI_BADFLAGS, c"WEIR_EAI_BADFLAGS", c"flags of a name lookup do not go together"),
    (WEIR_EAI_FAIL, c"WEIR_EAI_FAIL", c"name lookup failed"),
    (WEIR_EAI_FAMILY, c"WEIR_EAI_FAMILY", c"address family not known to name lookups"),
    (WEIR_EAI_NODATA, c"WEIR_EAI_NODATA", c"host has no address"),
    (WEIR_EAI_NONAME, c"WEIR_EAI_NONAME", c"host or service not known"),
    (WEIR_EAI_OVERFLOW, c"WEIR_EAI_OVERFLOW", c"name too long for a name lookup"),
    (WEIR_EAI_SERVICE, c"WEIR_EAI_SERVICE", c"service not known for that socket type"),
    (WEIR_EAI_SOCKTYPE, c"WEIR_EAI_SOCKTYPE", c"socket type not known to name lookups"),
];

/// Every errno of Linux.
static ERRNOS: [(c_int, &CStr, &CStr); 131] = [
    (libc::EPERM, c"EPERM", c"operation not permitted"),
    (libc::ENOENT, c"ENOENT", c"no such file or directory"),
    (libc::ESRCH, c"ESRCH", c"no such process"),
    (libc::EINTR, c"EINTR", c"interrupted by a signal"),
    (libc::EIO, c"EIO", c"input or output error"),
    (libc::ENXIO, c"ENXIO", c"no such device or address"),
    (libc::E2BIG, c"E2BIG", c"argument list too long"),
    (libc::ENOEXEC, c"ENOEXEC", c"not an executable format"),
    (libc::EBADF, c"EBADF", c"bad handle or file descriptor"),
    (libc::ECHILD, c"ECHILD", c"no child process"),
    (libc::EAGAIN, c"EAGAIN", c"temporarily unavailable"),
    (libc::ENOMEM, c"ENOMEM", c"out of memory"),
    (libc::EACCES, c"EACCES", c"permission denied"),
    (libc::EFAULT, c"EFAULT", c"bad address in memory"),
    (libc::ENOTBLK, c"ENOTBLK", c"not a block device"),
    (libc::EBUSY, c"EBUSY", c"busy"),
    (libc::EEXIST, c"EEXIST", c"exists already"),
    (libc::EXDEV, c"EXDEV", c"link across devices"),
    (libc::ENODEV, c"ENODEV", c"no such device"),
    (libc::ENOTDIR, c"ENOTDIR", c"not a directory"),
    (libc::EISDIR, c"EISDIR", c"is a directory"),
    (libc::EINVAL, c"EINVAL", c"invalid argument"),
    (libc::ENFILE, c"ENFILE", c"too many open files in the system"),
    (libc::EMFILE, c"EMFILE", c"too many open files in the process"),
    (libc::ENOTTY, c"ENOTTY", c"not a terminal, or control not supported"),
    (libc::ETXTBSY, c"ETXTBSY", c"program file is in use"),
    (libc::EFBIG, c"EFBIG", c"file too large"),
    (libc::ENOSPC, c"ENOSPC", c"no space or no watches left"),
    (libc::ESPIPE, c"ESPIPE", c"cannot seek"),
    (libc::EROFS, c"EROFS", c"read-only file system"),
    (libc::EMLINK, c"EMLINK", c"too many links"),
    (libc::EPIPE, c"EPIPE", c"the peer no longer reads"),
    (libc::EDOM, c"EDOM", c"argument outside the domain of the function"),
    (libc::ERANGE, c"ERANGE", c"result out of range"),
    (libc::EDEADLK, c"EDEADLK", c"would deadlock"),
    (libc::ENAMETOOLONG, c"ENAMETOOLONG", c"name too long"),
    (libc::ENOLCK, c"ENOLCK", c"no locks left"),
    (libc::ENOSYS, c"ENOSYS", c"not implemented by the system"),
    (libc::ENOTEMPTY, c"ENOTEMPTY", c"directory not empty"),
    (libc::ELOOP, c"ELOOP", c"too many symbolic links"),
    (libc::ENOMSG, c"ENOMSG", c"no message of that type"),
    (libc::EIDRM, c"EIDRM", c"identifier removed"),
    (libc::ECHRNG, c"ECHRNG", c"channel number out of range"),
    (libc::EL2NSYNC, c"EL2NSYNC", c"level 2 not synchronised"),
    (libc::EL3HLT, c"EL3HLT", c"level 3 halted"),
    (libc::EL3RST, c"EL3RST", c"level 3 reset"),
    (libc::ELNRNG, c"ELNRNG", c"link number out of range"),
    (libc::EUNATCH, c"EUNATCH", c"protocol driver not attached"),
    (libc::ENOCSI, c"ENOCSI", c"no CSI structure"),
    (libc::EL2HLT, c"EL2HLT", c"level 2 halted"),
    (libc::EBADE, c"EBADE", c"invalid exchange"),
    (libc::EBADR, c"EBADR", c"invalid request descriptor"),
    (libc::EXFULL, c"EXFULL", c"exchange full"),
    (libc::ENOANO, c"ENOANO", c"no anode"),
    (libc::EBADRQC, c"EBADRQC", c"invalid request code"),
    (libc::EBADSLT, c"EBADSLT", c"invalid slot"),
    (libc::EBFONT, c"EBFONT", c"bad font file format"),
    (libc::ENOSTR, c"ENOSTR", c"not a stream device"),
    (libc::ENODATA, c"ENODATA", c"no data"),
    (libc::ETIME, c"ETIME", c"timer expired"),
    (libc::ENOSR, c"ENOSR", c"no stream resources left"),
    (libc::ENONET, c"ENONET", c"machine not on the network"),
    (libc::ENOPKG, c"ENOPKG", c"package not installed"),
    (libc::EREMOTE, c"EREMOTE", c"object is remote"),
    (libc::ENOLINK, c"ENOLINK", c"link severed"),
    (libc::EADV, c"EADV", c"advertise error"),
    (libc::ESRMNT, c"ESRMNT", c"srmount error"),
    (libc::ECOMM, c"ECOMM", c"communication error on send"),
    (libc::EPROTO, c"EPROTO", c"protocol error"),
    (libc::EMULTIHOP, c"EMULTIHOP", c"multihop attempted"),
    (libc::EDOTDOT, c"EDOTDOT", c"RFS specific error"),
    (libc::EBADMSG, c"EBADMSG", c"bad message"),
    (libc::EOVERFLOW, c"EOVERFLOW", c"value too large for its type"),
    (libc::ENOTUNIQ, c"ENOTUNIQ", c"name not unique on the network"),
    (libc::EBADFD, c"EBADFD", c"file descriptor in a bad state"),
    (libc::EREMCHG, c"EREMCHG", c"remote address changed"),
    (libc::ELIBACC, c"ELIBACC", c"cannot access a shared library"),
    (libc::ELIBBAD, c"ELIBBAD", c"corrupted shared library"),
    (libc::ELIBSCN, c"ELIBSCN", c"corrupted .lib section"),
    (libc::ELIBMAX, c"ELIBMAX", c"too many shared libraries"),
    (libc::ELIBEXEC, c"ELIBEXEC", c"cannot execute a shared library"),
    (libc::EILSEQ, c"EILSEQ", c"invalid byte sequence"),
    (libc::ERESTART, c"ERESTART", c"call should be restarted"),
    (libc::ESTRPIPE, c"ESTRPIPE", c"stream pipe error"),
    (libc::EUSERS, c"EUSERS", c"too many users"),
    (libc::ENOTSOCK, c"ENOTSOCK", c"not a socket"),
    (libc::EDESTADDRREQ, c"EDESTADDRREQ", c"destination address required"),
    (libc::EMSGSIZE, c"EMSGSIZE", c"message too long"),
    (libc::EPROTOTYPE, c"EPROTOTYPE", c"wrong type of socket"),
    (libc::ENOPROTOOPT, c"ENOPROTOOPT", c"no such option of the protocol"),
    (libc::EPROTONOSUPPORT, c"EPROTONOSUPPORT", c"protocol not supported"),
    (libc::ESOCKTNOSUPPORT, c"ESOCKTNOSUPPORT", c"socket type not supported"),
    (libc::EOPNOTSUPP, c"EOPNOTSUPP", c"operation not supported"),
    (libc::EPFNOSUPPORT, c"EPFNOSUPPORT", c"protocol family not supported"),
    (libc::EAFNOSUPPORT, c"EAFNOSUPPORT", c"address family not supported"),
    (libc::EADDRINUSE, c"EADDRINUSE", c"address in use"),
    (libc::EADDRNOTAVAIL, c"EADDRNOTAVAIL", c"address not available"),
    (libc::ENETDOWN, c"ENETDOWN", c"network is down"),
    (libc::ENETUNREACH, c"ENETUNREACH", c"network unreachable"),
    (libc::ENETRESET, c"ENETRESET", c"connection dropped by the network"),
    (libc::ECONNABORTED, c"ECONNABORTED", c"connection aborted"),
    (libc::ECONNRESET, c"ECONNRESET", c"connection reset by the peer"),
    (libc::ENOBUFS, c"ENOBUFS", c"no buffer space left"),
    (libc::EISCONN, c"EISCONN", c"connected already"),
    (libc::ENOTCONN, c"ENOTCONN", c"not connected, or no socket open"),
    (libc::ESHUTDOWN, c"ESHUTDOWN", c"shutting down"),
    (libc::ETOOMANYREFS, c"ETOOMANYREFS", c"too many references"),
    (libc::ETIMEDOUT, c"ETIMEDOUT", c"timed out"),
    (libc::ECONNREFUSED, c"ECONNREFUSED", c"connection refused"),
    (libc::EHOSTDOWN, c"EHOSTDOWN", c"host is down"),
    (libc::EHOSTUNREACH, c"EHOSTUNREACH", c"host unreachable"),
    (libc::EALREADY, c"EALREADY", c"in progress already"),
    (libc::EINPROGRESS, c"EINPROGRESS", c"in progress"),
    (libc::ESTALE, c"ESTALE", c"stale file handle"),
    (libc::EUCLEAN, c"EUCLEAN", c"structure needs cleaning"),
    (libc::ENOTNAM, c"ENOTNAM", c"not a XENIX named file"),
    (libc::ENAVAIL, c"ENAVAIL", c"no XENIX semaphores"),
    (libc::EISNAM, c"EISNAM", c"is a named file"),
    (libc::EREMOTEIO, c"EREMOTEIO", c"remote input or output error"),
    (libc::EDQUOT, c"EDQUOT", c"quota exceeded"),
    (libc::ENOMEDIUM, c"ENOMEDIUM", c"no medium"),
    (libc::EMEDIUMTYPE, c"EMEDIUMTYPE", c"wrong medium"),
    (libc::ECANCELED, c"ECANCELED", c"operation canceled"),
    (libc::ENOKEY, c"ENOKEY", c"key not available"),
    (libc::EKEYEXPIRED, c"EKEYEXPIRED", c"key expired"),
    (libc::EKEYREVOKED, c"EKEYREVOKED", c"key revoked"),
    (libc::EKEYREJECTED, c"EKEYREJECTED", c"key rejected"),
    (libc::EOWNERDEAD, c"EOWNERDEAD", c"owner died"),
    (libc::ENOTRECOVERABLE, c"ENOTRECOVERABLE", c"state not recoverable"),
    (libc::ERFKILL, c"ERFKILL", c"blocked by the radio switch"),
    (libc::EHWPOISON, c"EHWPOISON", c"memory page has a hardware error"),
];

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn name(code: c_int) -> &'static str {
        lookup(code).0.to_str().unwrap()
    }

    #[test]
    fn constants_are_the_systems() {
        assert_eq!(WEIR_ECANCELED, -libc::ECANCELED);
        assert_eq!(WEIR_EBADF, -libc::EBADF);
        assert_eq!(WEIR_EINVAL, -libc::EINVAL);
        assert_eq!(WEIR_EBUSY, -libc::EBUSY);
        assert_eq!(WEIR_ENOMEM, -libc::ENOMEM);
        assert_eq!(WEIR_ETIMEDOUT, -libc::ETIMEDOUT);
        assert_eq!(WEIR_ESHUTDOWN, -libc::ESHUTDOWN);
        assert_eq!(WEIR_ENOTCONN, -libc::ENOTCONN);
        assert_eq!(WEIR_EISCONN, -libc::EISCONN);
        assert_eq!(WEIR_EOF, crate::services::stream::EOF);
    }

    /// glibc's names, which are those of errno.h.
    #[cfg(target_env = "gnu")]
    #[test]
    fn names_are_the_systems() {
        unsafe extern "C" {
            fn strerrorname_np(number: c_int) -> *const c_char;
        }
        for number in 1..=4096 {
            // SAFETY: takes a number; answers NULL or a static string.
            let system = unsafe {
                let name = strerrorname_np(number);
                (!name.is_null()).then(|| CStr::from_ptr(name).to_str().unwrap())
            };
            // A kernel newer than this table may have more.
            if system.is_some() || number <= 133 {
                assert_eq!(name(-number), system.unwrap_or("UNKNOWN"), "{number}");
            }
        }
    }

    #[test]
    fn lookups_have_names_of_their_own() {
        use crate::sys::netdb::fault;
        let given = [
            (fault::ADDRFAMILY, "WEIR_EAI_ADDRFAMILY"),
            (fault::AGAIN, "WEIR_EAI_AGAIN"),
            (fault::BADFLAGS, "WEIR_EAI_BADFLAGS"),
            (fault::FAIL, "WEIR_EAI_FAIL"),
            (fault::FAMILY, "WEIR_EAI_FAMILY"),
            (fault::NODATA, "WEIR_EAI_NODATA"),
            (fault::NONAME, "WEIR_EAI_NONAME"),
            (fault::OVERFLOW, "WEIR_EAI_OVERFLOW"),
            (fault::SERVICE, "WEIR_EAI_SERVICE"),
            (fault::SOCKTYPE, "WEIR_EAI_SOCKTYPE"),
        ];
        assert_eq!(given.len(), LOOKUPS.len());
        for (fault, text) in given {
            assert_eq!(name(fault.code()), text);
        }
        let texts: std::collections::HashSet<_> = LOOKUPS.iter().map(|row| row.2).collect();
        assert_eq!(texts.len(), LOOKUPS.len());
    }

    #[test]
    fn c_gets_strings() {
        // SAFETY: both answer static strings.
        let both = |code| unsafe {
            [weir_error_name(code), weir_strerror(code)]
                .map(|text| CStr::from_ptr(text).to_str().unwrap())
        };
        assert_eq!(both(0), ["OK", "success"]);
        assert_eq!(both(WEIR_EOF), ["WEIR_EOF", "end of stream"]);
        assert_eq!(both(-111), ["ECONNREFUSED", "connection refused"]);
        assert_eq!(both(111), ["UNKNOWN", "unknown error"]);
        assert_eq!(both(c_int::MIN), ["UNKNOWN", "unknown error"]);
    }

    #[test]
    fn every_errno_has_one_name() {
        let mut seen = std::collections::HashSet::new();
        for (number, name, text) in &ERRNOS {
            assert!(seen.insert(number), "{name:?} twice");
            assert!(!text.is_empty() && *text != c"unknown error");
        }
        // 41 and 58 are not used by Linux.
        assert!((1..=133).all(|number| number == 41 || number == 58 || seen.contains(&number)));
    }

    #[test]
    fn what_is_no_code_is_unknown() {
        for code in [1, 9, 125, c_int::MAX, c_int::MIN, -134, -4096, -10000, -10002, -10100, -10111]
        {
            assert_eq!(name(code), "UNKNOWN");
        }
        assert_eq!(name(0), "OK");
        assert_eq!(name(-9), "EBADF");
        assert_eq!(name(WEIR_EOF), "WEIR_EOF");
    }
}

use super::*;

fn text(address: &Address) -> String {
    let mut text = String::new();
    address.format(&mut text).unwrap();
    text
}

fn error(text: impl AsRef<[u8]>) -> Errno {
    Address::parse(text.as_ref()).err().unwrap_or_else(|| {
        panic!("{} was read", String::from_utf8_lossy(text.as_ref()));
    })
}

fn from_bytes(bytes: &[u8]) -> Result<Address, Errno> {
    // SAFETY: the bytes of a slice.
    unsafe { Address::from_raw(bytes.as_ptr().cast(), bytes.len() as socklen_t) }
}

/// AF_UNIX with the bytes of a name.
fn unix(name: &[u8]) -> Vec<u8> {
    let mut bytes = (libc::AF_UNIX as sa_family_t).to_ne_bytes().to_vec();
    bytes.extend(name);
    bytes
}

#[test]
fn every_form_goes_both_ways() {
    let long_path = format!("unix:/{}", "p".repeat(106));
    let long_name = format!("unix:@{}", "\\x00".repeat(107));
    let forms = [
        ("127.0.0.1:80", libc::AF_INET, 16),
        ("0.0.0.0:0", libc::AF_INET, 16),
        ("255.255.255.255:65535", libc::AF_INET, 16),
        ("[::]:0", libc::AF_INET6, 28),
        ("[::1]:80", libc::AF_INET6, 28),
        ("[fe80::1%lo]:80", libc::AF_INET6, 28),
        ("[fe80::1%4294967295]:1", libc::AF_INET6, 28),
        ("[::ffff:10.1.2.3]:443", libc::AF_INET6, 28),
        ("[1:2:3:4:5:6:7:8]:9", libc::AF_INET6, 28),
        ("unix:/run/x.sock", libc::AF_UNIX, 2 + 11 + 1),
        ("unix:relative", libc::AF_UNIX, 2 + 8 + 1),
        ("unix:\\x40at", libc::AF_UNIX, 2 + 3 + 1),
        ("unix:/a\\\\b\\x0a\\xc3\\xa9", libc::AF_UNIX, 2 + 7 + 1),
        ("unix:@name", libc::AF_UNIX, 3 + 4),
        ("unix:@", libc::AF_UNIX, 3),
        ("unix:@@", libc::AF_UNIX, 3 + 1),
        ("unix:@a b\\x00\\x7f\\xff\\\\", libc::AF_UNIX, 3 + 7),
        (&long_path, libc::AF_UNIX, 110),
        (&long_name, libc::AF_UNIX, 110),
    ];
    for (form, family, length) in forms {
        let address = Address::parse(form).unwrap_or_else(|e| panic!("{form}: {e:?}"));
        assert_eq!((address.family(), address.len()), (family, length), "{form}");
        assert_eq!(text(&address), form);
        // SAFETY: as long as it says.
        let taken = unsafe { Address::from_raw(address.as_ptr(), address.len()) }.unwrap();
        assert_eq!(taken.bytes(), address.bytes(), "{form}");
    }
}

#[test]
fn other_spellings_mean_the_same() {
    for (spelling, canonical) in [
        ("127.0.0.1:00080", "127.0.0.1:80"),
        ("[0:0::0:1]:7", "[::1]:7"),
        ("[FE80::A]:7", "[fe80::a]:7"),
        ("[::10.0.0.1]:7", "[::a00:1]:7"),
        ("unix:\\x2frun\\X", ""),
        ("unix:\\x2frun", "unix:/run"),
        ("unix:@\\xFF\\x41", "unix:@\\xffA"),
        ("unix:/\u{e9}", "unix:/\\xc3\\xa9"),
    ] {
        match Address::parse(spelling) {
            Ok(address) => assert_eq!(text(&address), canonical),
            Err(error) => assert_eq!((error, canonical), (Errno::INVAL, ""), "{spelling}"),
        }
    }
}

#[test]
fn h62_the_scope_is_kept() {
    let address = Address::parse("[fe80::1%7]:80").unwrap();
    let inet: sockaddr_in6 = address.read().unwrap();
    assert_eq!(inet.sin6_scope_id, 7);
    assert_eq!(inet.sin6_port, 80_u16.to_be());
    let named = Address::parse("[fe80::1%lo]:80").unwrap();
    // SAFETY: a C string.
    let index = unsafe { libc::if_nametoindex(c"lo".as_ptr()) };
    assert_eq!(named.read::<sockaddr_in6>().unwrap().sin6_scope_id, index);
    assert_eq!(error("[fe80::1%weir-none]:80"), Errno::NODEV);
    assert_eq!(error("[fe80::1%weir-no-such-interface]:80"), Errno::NODEV);
}

#[test]
fn what_is_no_address_is_refused() {
    for bad in [
        "",
        ":",
        "80",
        ":80",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:+80",
        "127.0.0.1:-1",
        "127.0.0.1:65536",
        "127.0.0.1:99999",
        "127.0.0.1:000080",
        "127.0.0.1:80 ",
        " 127.0.0.1:80",
        "127.0.0.1 :80",
        "127.0.0.1:80x",
        "127.0.0.1:0x50",
        "127.0.0.1:80:81",
        "127.0.0.1:\u{661}",
        "127.1:80",
        "127.0.0.256:80",
        "127.0.0.01:80",
        "127.0.0.1.1:80",
        "localhost:80",
        "::1:80",
        "::1",
        "[::1]",
        "[::1]:",
        "[::1]80",
        "[::1]: 80",
        "[::1:80",
        "[::1]]:80",
        "[[::1]]:80",
        "[]:80",
        "[::1%]:80",
        "[::1%0]:80",
        "[::1%4294967296]:80",
        "[127.0.0.1]:80",
        "[::1::]:80",
        "[%lo]:80",
        "x[::1]:80",
        "[::1]:80]",
        "unix:",
        "unix",
        "UNIX:/a",
        "unix:\\",
        "unix:/\\n",
        "unix:/\\x",
        "unix:/\\x4",
        "unix:/\\xg0",
        "unix:/\\x4g",
        "unix:/a\\x00b",
        "unix:\\x00a",
        "unix:@\\",
        "unix:a\\y",
        "unix:\\x00",
        "unix:@\\x1",
        "[fe80::1%99999999999]:1",
        "[::1]x:80",
        "::1]:80",
        "127.0.0:1",
    ] {
        assert_eq!(error(bad), Errno::INVAL, "{bad}");
    }
    assert_eq!(error(b"unix:/a\0b"), Errno::INVAL);
    assert_eq!(error(b"unix:@a\0b"), Errno::INVAL);
    assert_eq!(error(b"127.0.0.1:80\0"), Errno::INVAL);
    assert_eq!(error(b"127.0.0.\xff:80"), Errno::INVAL);
    assert_eq!(error("1".repeat(5000)), Errno::INVAL);
}

#[test]
fn names_that_are_too_long_are_refused() {
    assert_eq!(error(format!("unix:/{}", "p".repeat(107))), Errno::NAMETOOLONG);
    assert_eq!(error(format!("unix:@{}", "p".repeat(108))), Errno::NAMETOOLONG);
    assert_eq!(error(format!("unix:@{}", "p".repeat(5000))), Errno::NAMETOOLONG);
    assert_eq!(error(format!("unix:/{}\\", "p".repeat(200))), Errno::INVAL);
    assert_eq!(error(format!("unix:/{}\\x00", "p".repeat(200))), Errno::NAMETOOLONG);
}

#[test]
fn lengths_from_c_are_checked() {
    let inet = Address::parse("127.0.0.1:80").unwrap();
    let inet6 = Address::parse("[::1]:80").unwrap();
    for (address, least) in [(&inet, 16), (&inet6, 28)] {
        for length in 0..=140 {
            let mut bytes = address.bytes().to_vec();
            bytes.resize(length, 0xEE);
            match from_bytes(&bytes) {
                Ok(taken) => {
                    assert!((least..=128).contains(&length), "{length}");
                    assert_eq!(taken.len() as usize, least);
                    assert_eq!(all_bytes(&taken.storage), all_bytes(&address.storage));
                }
                Err(error) => {
                    assert!(!(least..=128).contains(&length), "{length}");
                    assert_eq!(error, Errno::INVAL);
                }
            }
        }
    }
    // SAFETY: NULL is not read.
    assert_eq!(unsafe { Address::from_raw(ptr::null(), 16) }.err(), Some(Errno::INVAL));
    for family in [libc::AF_UNSPEC, libc::AF_NETLINK, 0xFFFF] {
        let mut bytes = (family as sa_family_t).to_ne_bytes().to_vec();
        assert_eq!(from_bytes(&bytes).err(), Some(Errno::AFNOSUPPORT));
        bytes.resize(128, 0);
        assert_eq!(from_bytes(&bytes).err(), Some(Errno::AFNOSUPPORT));
    }
}

#[test]
fn unix_names_from_c_are_cut_where_they_end() {
    let cases: [(Vec<u8>, usize, &str); 7] = [
        (unix(b""), 2, "unix:"),
        (unix(b"/a"), 4, "unix:/a"),
        (unix(b"/a\0"), 5, "unix:/a"),
        (unix(b"/a\0garbage"), 5, "unix:/a"),
        (unix(b"\0"), 3, "unix:@"),
        (unix(b"\0a\0b\0"), 7, "unix:@a\\x00b\\x00"),
        (unix(&[b'p'; 108]), 110, &format!("unix:{}", "p".repeat(108))),
    ];
    for (bytes, length, expected) in cases {
        let address = from_bytes(&bytes).unwrap();
        assert_eq!(address.len() as usize, length, "{expected}");
        assert_eq!(text(&address), expected);
    }
    // As getsockname answers for a path that fills the struct, and as a whole storage.
    let mut filled = [b'p'; 109];
    filled[108] = 0;
    assert_eq!(from_bytes(&unix(&filled)).unwrap().len(), 110);
    let mut whole = unix(b"/a");
    whole.resize(128, 0);
    assert_eq!(from_bytes(&whole).unwrap().len(), 5);
    // Neither fits the kernel's struct.
    assert_eq!(from_bytes(&unix(&[b'p'; 109])).err(), Some(Errno::INVAL));
    assert_eq!(from_bytes(&unix(&[0; 109])).err(), Some(Errno::INVAL));
}

#[test]
fn the_kernel_may_fill_less_or_claim_more() {
    let mut address = Address::parse("127.0.0.1:80").unwrap();
    address.fill(|_, length| {
        // SAFETY: given by `fill`.
        assert_eq!(unsafe { length.replace(0) }, 128);
    });
    assert_eq!((address.len(), address.family()), (0, libc::AF_UNSPEC));
    assert_eq!(address.format(&mut String::new()), Err(Errno::AFNOSUPPORT));
    // SAFETY: given by `fill`.
    address.fill(|_, length| unsafe { length.write(500) });
    assert_eq!(address.len(), 128);
    address.fill(|to, length| {
        // SAFETY: given by `fill`.
        unsafe { ((*to).sa_family, *length) = (libc::AF_INET as sa_family_t, 8) };
    });
    assert_eq!(address.format(&mut String::new()), Err(Errno::INVAL));
}

#[test]
fn a_full_writer_is_enospc() {
    struct Full;
    impl fmt::Write for Full {
        fn write_str(&mut self, _: &str) -> fmt::Result {
            Err(fmt::Error)
        }
    }
    for form in ["127.0.0.1:80", "[::1%1]:80", "unix:/a", "unix:@\\xff"] {
        assert_eq!(Address::parse(form).unwrap().format(&mut Full), Err(Errno::NOSPC));
    }
}

#[test]
fn random_bytes_are_read_or_refused_and_come_back_the_same() {
    let mut state = 0x2545_F491_4F6C_DD17_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let alphabet = b"unix:@[]%:.\\x0123456789abcdefl/ \xff";
    let mut read = 0;
    for round in 0..200_000 {
        let start: &[u8] = [&b""[..], b"unix:", b"unix:@", b"[::", b"1.2.3."][round % 5];
        let mut form = start.to_vec();
        for _ in 0..random() % 12 {
            form.push(alphabet[random() as usize % alphabet.len()]);
        }
        let Ok(address) = Address::parse(&form) else { continue };
        read += 1;
        let again = Address::parse(text(&address)).unwrap();
        assert_eq!(again.bytes(), address.bytes());
    }
    assert!(read > 1000, "{read}");
}

//! The four floors of the library, enforced: each imports only from those that it may.
//!
//! The sources are read as tokens (comments and strings left out); every path that begins with
//! `crate`, `self`, `super` or the name of a crate is resolved and held against the rules below.
//! Code under `#[cfg(test)]` may use what it likes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A floor and the floors that it may use, itself aside.
const FLOORS: [(&str, &[&str]); 4] = [
    ("abi", &["services", "sched", "sys"]),
    ("services", &["sched", "sys"]),
    ("sched", &["sys"]),
    ("sys", &[]),
];

/// The one file that may name the sources of locks and atomics, and the folder of its simulation.
const SYNC: &str = "src/sched/sync.rs";
const SIMULATION: &str = "src/sched/sync/";

/// What of `std::sync` goes through that file.
const SHARED_STATE: [&str; 7] =
    ["Mutex", "MutexGuard", "RwLock", "Condvar", "Barrier", "mpsc", "atomic"];

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Sep,
    Mark(char),
}

type Tokens = Vec<(usize, Token)>;

fn tokens(source: &str) -> Tokens {
    let text: Vec<char> = source.chars().collect();
    let at = |i: usize| text.get(i).copied().unwrap_or('\0');
    let mut found = Vec::new();
    let (mut i, mut line) = (0, 1);
    while i < text.len() {
        let c = at(i);
        if c == '\n' {
            line += 1;
            i += 1;
        } else if c == '/' && at(i + 1) == '/' {
            while i < text.len() && at(i) != '\n' {
                i += 1;
            }
        } else if c == '/' && at(i + 1) == '*' {
            let mut depth = 0;
            while i < text.len() {
                match (at(i), at(i + 1)) {
                    ('/', '*') => (depth, i) = (depth + 1, i + 2),
                    ('*', '/') => (depth, i) = (depth - 1, i + 2),
                    ('\n', _) => (line, i) = (line + 1, i + 1),
                    _ => i += 1,
                }
                if depth == 0 {
                    break;
                }
            }
        } else if c == '"' {
            i += 1;
            while i < text.len() && at(i) != '"' {
                if at(i) == '\n' {
                    line += 1;
                }
                i += if at(i) == '\\' && at(i + 1) != '\n' { 2 } else { 1 };
            }
            i += 1;
        } else if c == '\'' {
            // A character when it closes again, else a lifetime.
            if at(i + 1) == '\\' {
                i += 3;
                while i < text.len() && at(i) != '\'' {
                    i += 1;
                }
                i += 1;
            } else if at(i + 2) == '\'' {
                i += 3;
            } else {
                i += 1;
            }
        } else if c.is_alphanumeric() || c == '_' {
            let start = i;
            while at(i).is_alphanumeric() || at(i) == '_' {
                i += 1;
            }
            let word: String = text[start..i].iter().collect();
            let hashes = (i..text.len()).take_while(|&k| at(k) == '#').count();
            if matches!(word.as_str(), "r" | "br" | "cr") && at(i + hashes) == '"' {
                let close: String = format!("\"{}", "#".repeat(hashes));
                i += hashes + 1;
                while i < text.len()
                    && !text[i..].iter().take(hashes + 1).eq(&Vec::from_iter(close.chars()))
                {
                    if at(i) == '\n' {
                        line += 1;
                    }
                    i += 1;
                }
                i += hashes + 1;
            } else {
                found.push((line, Token::Word(word)));
            }
        } else if c == ':' && at(i + 1) == ':' {
            found.push((line, Token::Sep));
            i += 2;
        } else {
            if !c.is_whitespace() {
                found.push((line, Token::Mark(c)));
            }
            i += 1;
        }
    }
    found
}

fn word(list: &[(usize, Token)], i: usize) -> Option<&str> {
    match list.get(i) {
        Some((_, Token::Word(word))) => Some(word),
        _ => None,
    }
}

fn is(list: &[(usize, Token)], i: usize, mark: char) -> bool {
    matches!(list.get(i), Some((_, Token::Mark(c))) if *c == mark)
}

/// The index behind the bracket that closes the one at `open`.
fn behind(list: &[(usize, Token)], open: usize) -> usize {
    let mut depth = 0usize;
    for (i, (_, token)) in list.iter().enumerate().skip(open) {
        match token {
            Token::Mark('(' | '[' | '{') => depth += 1,
            Token::Mark(')' | ']' | '}') => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return i + 1;
        }
    }
    list.len()
}

/// Takes the modules under `#[cfg(..test..)]` out; names those that are in files of their own.
fn without_tests(list: &[(usize, Token)]) -> (Tokens, Vec<String>) {
    let (mut kept, mut files) = (Vec::new(), Vec::new());
    let mut i = 0;
    while i < list.len() {
        if is(list, i, '#') && is(list, i + 1, '[') && word(list, i + 2) == Some("cfg") {
            let end = behind(list, i + 1);
            let (mut k, mut test) = (i + 3, false);
            while k < end {
                test |= word(list, k) == Some("test");
                let negated = word(list, k) == Some("not");
                k = if negated { behind(list, k + 1) } else { k + 1 };
            }
            if test {
                i = end;
                while is(list, i, '#') {
                    i = behind(list, i + 1);
                }
                // To the end of the item: its body, or the semicolon of one without.
                let mut name = None;
                while i < list.len() && !is(list, i, ';') && !is(list, i, '{') {
                    if word(list, i) == Some("mod") {
                        name = word(list, i + 1).map(str::to_owned);
                    }
                    i = if is(list, i, '(') || is(list, i, '[') { behind(list, i) } else { i + 1 };
                }
                if is(list, i, ';') {
                    files.extend(name);
                    i += 1;
                } else {
                    i = behind(list, i);
                    if is(list, i, ';') {
                        i += 1;
                    }
                }
                continue;
            }
        }
        kept.push(list[i].clone());
        i += 1;
    }
    (kept, files)
}

/// Collects the paths of a use tree that begins at `i` under `prefix`; returns the index behind it.
fn use_tree(
    list: &[(usize, Token)],
    mut i: usize,
    prefix: &[String],
    found: &mut Vec<(usize, Vec<String>)>,
) -> usize {
    let mut path = prefix.to_vec();
    let line = list.get(i).map_or(0, |(line, _)| *line);
    loop {
        if let Some(name) = word(list, i) {
            path.push(name.to_owned());
            i += 1;
            if matches!(list.get(i), Some((_, Token::Sep))) {
                i += 1;
                continue;
            }
            if word(list, i) == Some("as") {
                i += 2;
            }
            found.push((line, path));
            return i;
        }
        if is(list, i, '*') {
            path.push("*".into());
            found.push((line, path));
            return i + 1;
        }
        if is(list, i, '{') {
            i += 1;
            while i < list.len() && !is(list, i, '}') {
                i = use_tree(list, i, &path, found);
                if is(list, i, ',') {
                    i += 1;
                }
            }
            return i + 1;
        }
        return i + 1;
    }
}

/// Every path in the file, `self` and `super` resolved to `crate::..`.
fn paths(list: &[(usize, Token)], module: &[String]) -> Vec<(usize, Vec<String>)> {
    let mut resolved = Vec::new();
    let mut inline: Vec<(usize, String)> = Vec::new();
    let (mut depth, mut i) = (0usize, 0usize);
    while i < list.len() {
        let mut found = Vec::new();
        if is(list, i, '{') {
            depth += 1;
            i += 1;
        } else if is(list, i, '}') {
            depth = depth.saturating_sub(1);
            inline.retain(|(at, _)| *at < depth);
            i += 1;
        } else if word(list, i) == Some("mod") && is(list, i + 2, '{') {
            inline.push((depth, word(list, i + 1).unwrap_or_default().to_owned()));
            i += 2;
        } else if word(list, i) == Some("use") {
            let start = i + 1 + usize::from(matches!(list.get(i + 1), Some((_, Token::Sep))));
            i = use_tree(list, start, &[], &mut found);
        } else if word(list, i).is_some() {
            let line = list[i].0;
            let mut path = Vec::new();
            while let Some(name) = word(list, i) {
                path.push(name.to_owned());
                i += 1;
                if !matches!(list.get(i), Some((_, Token::Sep))) {
                    break;
                }
                i += 1;
            }
            if path.len() > 1 {
                found.push((line, path));
            }
        } else {
            i += 1;
        }
        for (line, path) in found {
            let mut here: Vec<String> = module.to_vec();
            here.extend(inline.iter().map(|(_, name)| name.clone()));
            let mut rest = path.as_slice();
            let mut relative = false;
            while let Some((first, tail)) = rest.split_first() {
                match first.as_str() {
                    "crate" => (here, relative) = (Vec::new(), true),
                    "self" => relative = true,
                    "super" => {
                        here.pop();
                        relative = true;
                    }
                    _ => break,
                }
                rest = tail;
            }
            if relative {
                let mut full = vec!["crate".to_owned()];
                full.extend(here);
                full.extend(rest.iter().cloned());
                resolved.push((line, full));
            } else {
                resolved.push((line, path));
            }
        }
    }
    resolved
}

fn is_c_type(name: &str) -> bool {
    name.starts_with("c_")
        || name.ends_with("_t")
        || name.starts_with("sockaddr")
        || matches!(name, "iovec" | "timespec" | "msghdr" | "FILE" | "rusage")
}

fn is_constant(name: &str) -> bool {
    !name.is_empty()
        && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}

/// Why `path` must not stand in `file` of `floor`, if so.
fn objection(file: &str, floor: &str, path: &[String]) -> Option<String> {
    let part = |i: usize| path.get(i).map_or("", String::as_str);
    let shown = path.join("::");
    if part(0) == "crate" {
        let target = part(1);
        let (_, allowed) = FLOORS.iter().find(|(name, _)| *name == floor)?;
        let known = FLOORS.iter().any(|(name, _)| *name == target);
        return (known && target != floor && !allowed.contains(&target))
            .then(|| format!("{floor} must not use {target} ({shown})"));
    }
    if part(0) == "libc" {
        // Whoever is above sys names what C calls things; asking the kernel is for sys.
        let plain = is_c_type(part(1)) || is_constant(part(1));
        return (floor != "sys" && !plain).then(|| format!("libc is called by sys only ({shown})"));
    }
    // sys can't reach up to that file; what it remembers of the kernel is in no loom model.
    if file == SYNC || file.starts_with(SIMULATION) || (floor == "sys" && part(2) == "atomic") {
        return None;
    }
    let shared = matches!(part(0), "parking_lot" | "loom")
        || (matches!(part(0), "std" | "core")
            && part(1) == "sync"
            && (matches!(part(2), "" | "*") || SHARED_STATE.contains(&part(2))));
    shared.then(|| format!("locks and atomics come from {SYNC} ({shown})"))
}

/// The violations in one file, as `file:line: why`.
fn violations(file: &str, source: &str) -> Vec<String> {
    let inner = file.trim_start_matches("src/").trim_end_matches(".rs");
    let module: Vec<String> = inner
        .split('/')
        .filter(|part| !matches!(*part, "mod" | "lib"))
        .map(str::to_owned)
        .collect();
    let floor = module.first().map_or("", String::as_str);
    let (list, _) = without_tests(&tokens(source));
    let mut found = Vec::new();
    for (line, path) in paths(&list, &module) {
        if let Some(why) = objection(file, floor, &path) {
            found.push(format!("{file}:{line}: {why}"));
        }
    }
    found
}

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|end| end == "rs") {
            into.push(path);
        }
    }
}

#[test]
fn the_sources_keep_to_their_floors() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    sources(&root.join("src"), &mut files);
    files.sort();

    // Files that only a test build has.
    let mut tests = BTreeSet::new();
    for path in &files {
        let (_, names) = without_tests(&tokens(&fs::read_to_string(path).unwrap()));
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let folder = if matches!(stem, "mod" | "lib") {
            path.parent().unwrap().to_owned()
        } else {
            path.with_extension("")
        };
        for name in names {
            tests.insert(folder.join(format!("{name}.rs")));
            tests.insert(folder.join(name).join("mod.rs"));
        }
    }

    let mut found = Vec::new();
    for path in files.iter().filter(|path| !tests.contains(*path)) {
        let name = path.strip_prefix(root).unwrap().to_str().unwrap();
        found.extend(violations(name, &fs::read_to_string(path).unwrap()));
    }
    assert!(files.len() >= 5, "only {} sources were found", files.len());
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

#[track_caller]
fn planted(file: &str, source: &str, expected: &[&str]) {
    let found = violations(file, source);
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found} instead of {expected}");
    }
}

#[test]
fn an_upward_import_is_reported() {
    planted(
        "src/sys/epoll.rs",
        "//! doc\nuse crate::sched::op::Op;\n",
        &["src/sys/epoll.rs:2: sys "],
    );
    planted(
        "src/sched/op.rs",
        "\n\nuse crate::{sys, services::stream};",
        &["src/sched/op.rs:3: sched "],
    );
    planted(
        "src/services/timer.rs",
        "fn f() { crate::abi::go(); }",
        &["src/services/timer.rs:1: services "],
    );
    planted("src/sched/mod.rs", "use super::abi;", &["src/sched/mod.rs:1: sched "]);
    planted(
        "src/sys/a/b.rs",
        "mod c { fn f() { super::super::super::super::sched::x(); } }",
        &["src/sys/a/b.rs:1"],
    );
}

#[test]
fn a_call_of_libc_above_sys_is_reported() {
    planted("src/sched/op.rs", "fn f() { libc::close(1); }", &["src/sched/op.rs:1: libc "]);
    planted(
        "src/services/stream.rs",
        "use libc::{c_int, recv};",
        &["src/services/stream.rs:1: libc "],
    );
    planted("src/abi/stream.rs", "use libc::*;", &["src/abi/stream.rs:1: libc "]);
    planted("src/abi/stream.rs", "use libc::{c_int, sockaddr, EINVAL};", &[]);
    planted("src/sys/a.rs", "use libc::*; fn f() { libc::close(1); }", &[]);
}

#[test]
fn locks_from_elsewhere_are_reported() {
    planted("src/sched/op.rs", "use std::sync::{Arc, Mutex};", &["src/sched/op.rs:1: locks"]);
    planted(
        "src/services/a.rs",
        "use std::sync::atomic::AtomicBool;",
        &["src/services/a.rs:1: locks"],
    );
    planted(
        "src/services/a.rs",
        "static A: core::sync::atomic::AtomicU8 = b;",
        &["src/services/a.rs:1: locks"],
    );
    planted("src/sys/a.rs", "use std::sync;", &["src/sys/a.rs:1: locks"]);
    planted(
        "src/sys/a.rs",
        "use std::sync::{Mutex, atomic::AtomicBool};",
        &["src/sys/a.rs:1: locks"],
    );
    planted("src/lib.rs", "use parking_lot::Mutex;", &["src/lib.rs:1: locks"]);
    planted("src/sched/a.rs", "use loom::sync::Arc;", &["src/sched/a.rs:1: locks"]);
    planted(SYNC, "pub use parking_lot::Mutex; pub use std::sync::atomic::fence;", &[]);
}

#[test]
fn what_is_no_import_is_not_reported() {
    planted(
        "src/sys/a.rs",
        "// crate::abi\n/* crate::abi /* */ */ const A: &str = \"crate::abi::x\";",
        &[],
    );
    planted(
        "src/sys/a.rs",
        "const A: &str = r#\"\"crate::abi\"#; fn f<'a>(c: char) -> bool { c == '\"' }",
        &[],
    );
    planted("src/sys/a.rs", "#[cfg(test)]\nmod tests { use crate::abi; }", &[]);
    planted("src/sched/a.rs", "#[cfg(all(test, loom))] mod m { use loom::model; }", &[]);
    planted("src/sched/a.rs", "#[cfg(all(test, not(loom)))] mod m { use loom::model; }", &[]);
    planted(
        "src/sched/a.rs",
        "#[cfg(not(test))] mod m { use loom::model; }",
        &["src/sched/a.rs:1"],
    );
    planted(
        "src/services/a.rs",
        "#[cfg(test)] mod t; use crate::abi::x;",
        &["src/services/a.rs:1"],
    );
    planted("src/services/a.rs", "use crate::sched::op; use super::b; use std::sync::Arc;", &[]);
}

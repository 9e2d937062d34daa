//! `include/weir.h` is what cbindgen makes of `src/abi`, one section for each file there
//! (`mod.rs` exports nothing).
//!
//! With `WEIR_BLESS=1` the file is rewritten instead of compared.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

const INCLUDES: [&str; 6] =
    ["stddef.h", "stdint.h", "sys/types.h", "sys/socket.h", "sys/uio.h", "sys/resource.h"];

/// The sections of the header, each a file of `src/abi`. What one declares, those behind it may use.
#[rustfmt::skip]
const SECTIONS: &[&str] = &[
    "version",
    "handle",
    "error",
    "context",
    "strand",
    "hook",
    "record",
    "timer",
    "stream",
    "compose",
    "acceptor",
    "datagram",
    "message",
    "local",
    "signals",
    "option",
    "address",
    "watch",
    "process",
    "job",
    "resolver",
    "pool",
    "enter",
    "report",
    "memory",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The files of `src/abi` in the order of the header.
fn sections() -> impl Iterator<Item = (&'static str, PathBuf)> {
    SECTIONS.iter().map(|name| (*name, root().join(format!("src/abi/{name}.rs"))))
}

/// Public types of the file that no function of the same file need mention.
fn types(source: &str) -> Vec<String> {
    let kinds = ["pub struct ", "pub type ", "pub enum ", "pub union "];
    source
        .lines()
        .filter_map(|line| kinds.iter().find_map(|kind| line.trim_start().strip_prefix(kind)))
        .map(|rest| {
            rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>()
        })
        .filter(|name| name.starts_with("weir_"))
        .collect()
}

/// What cbindgen makes of one file. It reads a copy without `mod name;`, which it would follow.
fn section(name: &str, path: &Path) -> String {
    let source = fs::read_to_string(path).unwrap();
    let is_module = |line: &str| line.contains("mod ") && line.trim_end().ends_with(';');
    let alone: String =
        source.lines().filter(|line| !is_module(line)).map(|line| format!("{line}\n")).collect();
    let folder =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{:?}", thread::current().id()));
    fs::create_dir_all(&folder).unwrap();
    let copy = folder.join(format!("{name}.rs"));
    fs::write(&copy, alone).unwrap();

    let mut config = cbindgen::Config::from_file(root().join("cbindgen.toml")).unwrap();
    config.export.include = types(&source);
    let bindings = cbindgen::Builder::new().with_config(config).with_src(copy).generate().unwrap();
    let mut text = Vec::new();
    bindings.write(&mut text);
    // Style "both" writes the tag here and there; the header uses the typedefs everywhere.
    let plain = |line: &str| match line.starts_with("typedef struct ") {
        true => line.to_owned(),
        false => line.replace("struct weir_", "weir_"),
    };
    let text = String::from_utf8(text).unwrap();
    text.trim().lines().map(plain).collect::<Vec<_>>().join("\n")
}

fn header() -> String {
    let mut out = String::from("#ifndef WEIR_H\n#define WEIR_H\n\n");
    if let Ok(overview) = fs::read_to_string(root().join("src/abi/overview.h")) {
        out.push_str(overview.trim());
        out.push_str("\n\n");
    }
    for include in INCLUDES {
        out.push_str(&format!("#include <{include}>\n"));
    }
    out.push_str("\n#ifdef __cplusplus\nextern \"C\" {\n#endif\n");
    for (name, path) in sections() {
        let text = section(name, &path);
        if !text.is_empty() {
            let rule = "-".repeat(88usize.saturating_sub(name.len()));
            out.push_str(&format!("\n/* ---- {name} {rule} */\n\n{text}\n"));
        }
    }
    out.push_str("\n#ifdef __cplusplus\n}\n#endif\n\n#endif /* WEIR_H */\n");
    out
}

/// Macros, types and functions that a header declares: every name that it adds to a program.
fn declared(header: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut comment = false;
    for line in header.lines() {
        comment |= line.starts_with("/*");
        if comment {
            comment = !line.ends_with("*/");
            continue;
        }
        let last_word = |text: &str| {
            let tail = text.rsplit(|c: char| !c.is_alphanumeric() && c != '_').next();
            tail.unwrap_or_default().to_owned()
        };
        if let Some(rest) = line.strip_prefix("#define ") {
            found.extend(rest.split_whitespace().next().map(str::to_owned));
        } else if let Some(rest) = line.strip_prefix("typedef ") {
            let name = match rest.split_once("(*") {
                Some((_, tail)) => tail.split(')').next().unwrap_or_default().to_owned(),
                None if rest.ends_with('{') => continue,
                None => last_word(rest.trim_end_matches([';', '{', ' '])),
            };
            found.push(name);
        } else if let Some(rest) = line.strip_prefix("} ") {
            found.push(rest.trim_end_matches(';').to_owned());
        } else if line.contains('(') && line.starts_with(char::is_alphabetic) {
            found.push(last_word(line.split('(').next().unwrap_or_default()));
        }
    }
    found
}

#[test]
fn the_header_is_up_to_date() {
    let path = root().join("include/weir.h");
    let made = header();
    if std::env::var_os("WEIR_BLESS").is_some_and(|value| value == "1") {
        fs::create_dir_all(root().join("include")).unwrap();
        fs::write(&path, made).unwrap();
        return;
    }
    let kept = fs::read_to_string(&path).expect("include/weir.h is missing: run `make header`");
    for (number, (kept, made)) in kept.lines().zip(made.lines()).enumerate() {
        assert_eq!(kept, made, "include/weir.h:{} differs: run `make header`", number + 1);
    }
    assert_eq!(kept.len(), made.len(), "include/weir.h differs at its end: run `make header`");
}

#[test]
fn every_file_of_the_abi_is_a_section() {
    let mut files: Vec<String> = fs::read_dir(root().join("src/abi"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "rs"))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .filter(|name| name != "mod")
        .collect();
    files.sort();
    let mut listed: Vec<String> = SECTIONS.iter().map(|name| (*name).to_owned()).collect();
    listed.sort();
    assert_eq!(files, listed, "SECTIONS in tests/header.rs names them in the header's order");
}

#[test]
fn the_header_declares_only_names_of_its_own() {
    let names = declared(&header());
    let foreign: Vec<_> = names
        .iter()
        .filter(|name| !name.starts_with("weir_") && !name.starts_with("WEIR_"))
        .collect();
    assert!(names.iter().any(|name| name == "weir_version"), "no declarations found: {names:?}");
    assert!(foreign.is_empty(), "foreign names in the header: {foreign:?}");
}

/// What functions say of threads, without the last full stop: bindings read from it whether a call may block.
fn thread_sentences(header: &str) -> Vec<(String, Option<String>)> {
    let (mut found, mut sentence) = (Vec::new(), None);
    for line in header.lines() {
        if line == "/**" {
            sentence = None;
        } else if let Some(text) = line.strip_prefix(" * Thread: ") {
            sentence = Some(text.to_owned());
        } else if line.contains('(')
            && line.starts_with(char::is_alphabetic)
            && !line.starts_with("typedef")
        {
            let name = line.split('(').next().and_then(|text| text.rsplit([' ', '*']).next());
            found.push((name.unwrap_or_default().to_owned(), sentence.take()));
        }
    }
    found
}

#[test]
fn every_function_says_which_threads_may_call_it_and_whether_it_blocks() {
    let whose = ["any", "any, also in a signal handler", "the one that forks"];
    let is_fixed = |sentence: &str| {
        sentence.strip_suffix('.').and_then(|text| text.split_once("; ")).is_some_and(
            |(who, how)| {
                let waits = ["never blocks", "never blocks but for the callbacks that it runs"];
                whose.contains(&who) && (waits.contains(&how) || how.starts_with("may block "))
            },
        )
    };
    let all = thread_sentences(&header());
    assert!(all.iter().any(|(name, _)| name == "weir_context_run"), "no functions found: {all:?}");
    let odd: Vec<_> =
        all.iter().filter(|(_, sentence)| !sentence.as_deref().is_some_and(is_fixed)).collect();
    assert!(odd.is_empty(), "another sentence on threads, or none: {odd:?}");
    assert!(!is_fixed("any; never waits.") && !is_fixed("some; never blocks."));
}

#[test]
fn a_foreign_name_is_found() {
    let text = "/**\n * int comment(void);\n */\ntypedef struct weir_a weir_a;\n\
                typedef void (*callback)(int status);\n#define LIMIT 3\nint go(void);\n\
                int weir_b(int c);\ntypedef struct weir_d {\n    int e;\n} d;\n";
    assert_eq!(declared(text), ["weir_a", "callback", "LIMIT", "go", "weir_b", "d"]);
}

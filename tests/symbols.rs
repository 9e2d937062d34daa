//! `include/weir.symbols` names every function of the header, sorted: the ABI at a glance.
//!
//! With `WEIR_BLESS=1` the file is rewritten instead of compared. That the shared library exports
//! these names and no others is checked by scripts/check-exports, which ctest runs.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The functions that a header declares; types and comments are left out.
fn functions(header: &str) -> BTreeSet<String> {
    let mut code = String::new();
    let mut rest = header;
    while let Some((before, comment)) = rest.split_once("/*") {
        code.push_str(before);
        rest = comment.split_once("*/").map_or("", |(_, after)| after);
    }
    code.push_str(rest);

    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = BTreeSet::new();
    for (open, _) in code.match_indices('(') {
        let before = &code[..open];
        let start = before.rfind(|c| !is_name(c)).map_or(0, |at| at + 1);
        if before[start..].starts_with("weir_") {
            found.insert(before[start..].to_owned());
        }
    }
    found
}

#[test]
fn the_list_of_symbols_is_up_to_date() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("include");
    let header = fs::read_to_string(folder.join("weir.h")).expect("run `make header`");
    let declared = functions(&header);
    assert!(declared.contains("weir_version"), "no functions found in weir.h");

    let path = folder.join("weir.symbols");
    let made: String = declared.iter().map(|name| format!("{name}\n")).collect();
    if std::env::var_os("WEIR_BLESS").is_some_and(|value| value == "1") {
        fs::write(&path, made).unwrap();
        return;
    }
    let kept = fs::read_to_string(&path).expect("run `make header`");
    let listed: BTreeSet<String> = kept.lines().map(str::to_owned).collect();
    let added: Vec<_> = declared.difference(&listed).collect();
    let gone: Vec<_> = listed.difference(&declared).collect();
    assert!(
        added.is_empty() && gone.is_empty(),
        "include/weir.symbols differs from weir.h: added {added:?}, gone {gone:?}: run `make header`"
    );
    assert_eq!(kept, made, "include/weir.symbols is not sorted: run `make header`");
}

#[test]
fn only_functions_are_taken_for_functions() {
    let text = "/* int weir_no(void) */ typedef void (*weir_callback)(int status);\n\
                int weir_yes(weir_a *a,\n  int (b)); #define WEIR_X (1)\n";
    assert_eq!(functions(text), BTreeSet::from(["weir_yes".to_owned()]));
}

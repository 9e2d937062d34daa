//! The driver in C that `c-tests/test_sequence.c` uses as well.

fn main() {
    for path in ["sequence.c", "../c-tests/sequence", "../c-tests/net.h", "../c-tests/check.h", "../include/weir.h"] {
        println!("cargo::rerun-if-changed={path}");
    }
    cc::Build::new()
        .file("sequence.c")
        .include("../include")
        .include("../c-tests")
        .define("_GNU_SOURCE", None)
        .define("SEQUENCE_FUZZ", None)
        .define("WEIR_SYMBOLS_FILE", "\"../include/weir.symbols\"")
        .flag("-std=c11")
        .warnings(false)
        .compile("sequence");
}

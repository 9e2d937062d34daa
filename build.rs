//! Link arguments of the shared library.
//!
//! They are given to every link of this package, because cargo warns about `rustc-cdylib-link-arg`
//! in a package whose manifest names no cdylib. In the test programs they do no harm.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");

    // The soname carries the ABI generation: the major version.
    let major = std::env::var("CARGO_PKG_VERSION_MAJOR").unwrap_or_else(|_| "0".into());
    println!("cargo::rustc-link-arg=-Wl,-soname,libweir.so.{major}");

    // dlclose must not unmap code that a thread of the library or a signal handler may still run.
    println!("cargo::rustc-link-arg=-Wl,-z,nodelete");
}

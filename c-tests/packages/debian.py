#!/usr/bin/env python3
"""debian.py SOURCE BUILD CMAKE: makes the Debian packages from what was built in BUILD, looks at them, installs them
into a folder, and builds and runs programs against that."""

import gzip
import os
import re
import shutil
import subprocess
import sys

sys.dont_write_bytecode = True
source, build = map(os.path.abspath, sys.argv[1:3])
cmake = shutil.which(sys.argv[3])
work = os.path.join(build, "debian")
root = os.path.join(work, "root")
consumers = os.path.join(source, "c-tests/consumers")
sys.path.insert(0, os.path.join(source, "scripts/reference"))
from header import read_version

VERSION = read_version(os.path.join(source, "Cargo.toml"))
SO = VERSION.split(".")[0]
# No bug asks for the packages, and the licence names no year.
TOLERATED = "initial-upload-closes-no-bugs,copyright-without-copyright-notice"
ENVIRONMENT = {name: value for name, value in os.environ.items()
               if name not in ("DESTDIR", "LD_LIBRARY_PATH", "PKG_CONFIG_PATH", "MAKEFLAGS", "MFLAGS", "MANPATH")}
ENVIRONMENT["LC_ALL"] = "C.UTF-8"


def run(*command, **more):
    """Runs a command and gives its output; ends the test where it fails."""
    done = subprocess.run(command, env={**ENVIRONMENT, **more.pop("environment", {})}, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **more)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit status {done.returncode}\n{done.stdout}")
    return done.stdout


def need(what, true):
    if not true:
        sys.exit(f"wrong: {what}")
    print(f"ok: {what}")


class Package:
    def __init__(self, name):
        files = [file for file in os.listdir(work) if file.startswith(name + "_") and file.endswith(".deb")]
        need(f"one {name}", len(files) == 1)
        self.name, self.path = name, os.path.join(work, files[0])
        self.files = {}     # path -> (mode, owner, target of a link)
        for line in run("dpkg-deb", "-c", self.path).splitlines():
            mode, owner, _, _, _, path = line.split(None, 5)
            path, _, target = path.partition(" -> ")
            self.files[path.removeprefix(".")] = mode, owner, target

    def field(self, name):
        return run("dpkg-deb", "-f", self.path, name).strip()

    def control(self, name):
        return run("dpkg-deb", "-I", self.path, name)


def make():
    for file in os.listdir(work) if os.path.isdir(work) else []:
        if file.endswith(".deb"):
            os.remove(os.path.join(work, file))
    # Cargo's results are those of the build that is tested.
    run(cmake, "-S", source, "-B", work, "-DWEIR_DEBIAN=ON", "-DCMAKE_INSTALL_PREFIX=/usr", "-DWEIR_BUILD_TESTS=OFF",
        "-DWEIR_BUILD_EXAMPLES=OFF", f"-DWEIR_CARGO_TARGET_DIR={build}/cargo")
    run(cmake, "--build", work)
    run(os.path.join(os.path.dirname(cmake), "cpack"), cwd=work)
    return Package(f"libweir{SO}"), Package("libweir-dev")


def look(runtime, dev, lib):
    for package in (runtime, dev):
        need(f"{package.name}: version", package.field("Version").startswith(VERSION + "-"))
        documents = f"/usr/share/doc/{package.name}/"
        need(f"{package.name}: copyright and changelogs",
             all(documents + name in package.files for name in ("copyright", "changelog.gz", "changelog.Debian.gz")))
        need(f"{package.name}: everything is root's, nothing is writable by others or executable", all(
            owner == "root/root" and (mode[0] == "l" or mode in ("drwxr-xr-x", "-rw-r--r--"))
            for mode, owner, _ in package.files.values()))
    depends = runtime.field("Depends")
    need("dependencies by dpkg-shlibdeps", re.search(r"libc6 \(>= ", depends) and "libgcc-s1" in depends)
    need("shlibs", re.fullmatch(rf"libweir {SO} libweir{SO} \(>= {re.escape(VERSION)}-\S+\)\n", runtime.control("shlibs")))
    need("the ldconfig trigger", runtime.control("triggers").strip() == "activate-noawait ldconfig")
    scripts = os.listdir(run_control(runtime))
    need("no maintainer scripts", not {"preinst", "postinst", "prerm", "postrm"} & set(scripts))
    need("libweir-dev needs just this libweir", f"libweir{SO} (= {runtime.field('Version')})" in dev.field("Depends"))
    need("soname link", runtime.files[f"{lib}/libweir.so.{SO}"][2] == f"libweir.so.{VERSION}")
    need("link for the linker", dev.files[f"{lib}/libweir.so"][2] == f"libweir.so.{SO}")
    need("runtime: the library alone", {path for path in runtime.files if not path.endswith("/")} == {
        f"{lib}/libweir.so.{SO}", f"{lib}/libweir.so.{VERSION}",
        *(f"/usr/share/doc/libweir{SO}/{name}" for name in ("copyright", "changelog.gz", "changelog.Debian.gz"))})
    expected = [f"{lib}/libweir.a", f"{lib}/pkgconfig/weir.pc", f"{lib}/cmake/weir/weir-config.cmake",
                "/usr/include/weir.h", "/usr/include/weir.hpp", "/usr/share/man/man3/weir_stream_read.3.gz",
                "/usr/share/man/man7/weir.7.gz"]
    with open(os.path.join(source, "include/weir.symbols"), encoding="utf-8") as file:
        expected += [f"/usr/share/man/man3/{name}.3.gz" for name in file.read().split()]
    for folder, _, names in os.walk(os.path.join(source, "include/weir")):
        expected += ["/usr" + os.path.join(folder, name).removeprefix(source) for name in names]
    missing = [path for path in expected if path not in dev.files]
    need(f"libweir-dev: {len(expected)} files {missing}", not missing)


def run_control(package):
    folder = os.path.join(work, "control")
    shutil.rmtree(folder, ignore_errors=True)
    run("dpkg-deb", "-e", package.path, folder)
    return folder


def install(runtime, dev):
    shutil.rmtree(root, ignore_errors=True)
    if os.geteuid() != 0:
        for package in (runtime, dev):
            run("dpkg-deb", "-x", package.path, root)
        return "by dpkg-deb -x"
    os.makedirs(os.path.join(root, "var/lib/dpkg/updates"))
    for name in ("status", "available"):
        open(os.path.join(root, "var/lib/dpkg", name), "w", encoding="utf-8").close()
    # Their dependencies are not in the folder. Small installations of Debian leave manuals out unless told otherwise.
    dpkg = ["dpkg", f"--root={root}", "--force-depends", "--log=/dev/null", "--path-include=*"]
    run(*dpkg, "-i", runtime.path, dev.path)
    run(*dpkg, "-r", "libweir-dev", f"libweir{SO}")
    left = [name for folder, _, names in os.walk(os.path.join(root, "usr")) for name in names]
    need(f"nothing is left after removal {left}", not left)
    run(*dpkg, "-i", runtime.path, dev.path)
    return "by dpkg -i --root"


def use(lib):
    """Programs in C and C++, by pkg-config and by CMake, against what was installed."""
    here = root + lib
    for folder, _, names in os.walk(here):
        for name in names:
            if name.endswith((".pc", ".cmake")):
                with open(os.path.join(folder, name), encoding="utf-8") as file:
                    need(f"{name} names no folder of the build", build not in (text := file.read()) and source not in text)
    output = run("ldconfig", "-n", "-N", "-X", "-v", here) if shutil.which("ldconfig", path="/sbin:/usr/sbin") else None
    if output:
        need("ldconfig finds it", f"libweir.so.{SO} -> libweir.so.{VERSION}" in output)
    for name in ("libweir.so", "libweir.a"):
        need(f"{name} has no debug information",
             ".debug_info" not in run("readelf", "-SW", os.path.join(here, name)))
    environment = {"PKG_CONFIG_PATH": here + "/pkgconfig", "LD_LIBRARY_PATH": here}
    need("pkg-config's version", run("pkg-config", "--modversion", "weir", environment=environment).strip() == VERSION)
    flags = run("pkg-config", "--cflags", "--libs", "weir", environment=environment).split()
    for compiler, name, *standard in (["cc", "consumer.c"], ["c++", "consumer.cpp"], ["c++", "consumer_hpp.cpp", "-std=c++17"]):
        program = os.path.join(work, name + ".out")
        run(compiler, *standard, "-Wall", "-Wextra", "-Werror", os.path.join(consumers, name), *flags, "-o", program)
        run(program, environment=environment)
        needed = run("readelf", "-d", program)
        need(f"{name} by pkg-config", f"[libweir.so.{SO}]" in needed)
        resolved = run("ldd", program, environment=environment)
        need(f"{name} runs with the installed one", f"libweir.so.{SO} => {here}/" in resolved)
    folder = os.path.join(work, "consumers")
    shutil.rmtree(folder, ignore_errors=True)
    run(cmake, "-S", consumers, "-B", folder, f"-DCMAKE_PREFIX_PATH={root}/usr", f"-DCMAKE_LIBRARY_ARCHITECTURE={lib[9:]}")
    with open(os.path.join(folder, "CMakeCache.txt"), encoding="utf-8") as file:
        need("CMake found the installed one", f"weir_DIR:PATH={here}/cmake/weir" in file.read())
    run(cmake, "--build", folder)
    for kind in ("weir", "weir_static"):
        for language in ("c", "cpp", "hpp"):
            run(os.path.join(folder, f"{language}_{kind}"))
            need(f"{language}_{kind} by CMake", True)


def manual():
    man = root + "/usr/share/man"
    with gzip.open(f"{man}/man3/weir_stream_readv.3.gz", "rt") as page:
        link = page.read()
    need("a page that is a link", re.fullmatch(r"\.so man3/\w+\.3\n", link)
         and os.path.exists(f"{man}/{link.split()[1]}.gz"))
    if shutil.which("man"):
        page = run("man", "-M", man, "weir_stream_readv", environment={"MANPAGER": "cat", "PAGER": "cat", "MANWIDTH": "80"})
        need("man shows it", "weir_stream_readv(weir_stream *stream" in page)


def main():
    runtime, dev = make()
    # Debian's name for this machine's libraries is part of the path.
    lib = os.path.dirname(next(path for path in runtime.files if path.endswith(f"/libweir.so.{SO}")))
    look(runtime, dev, lib)
    if shutil.which("lintian"):
        # It would show every manual page by groff, for a minute; mandoc has looked at them.
        run("lintian", "-X", "documentation/manual", "--fail-on", "error,warning", "--suppress-tags", TOLERATED,
            "--allow-root", runtime.path, dev.path)
        print("ok: lintian")
    else:
        print("skipped: lintian is not installed")
    print(f"installed {install(runtime, dev)}")
    use(lib)
    manual()


if __name__ == "__main__":
    main()

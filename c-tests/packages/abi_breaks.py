#!/usr/bin/env python3
"""Does `scripts/abi check` fail for what breaks programs, and only for that? Each case changes a copy of weir.h."""

import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

STOP = "int weir_timer_stop(weir_timer *timer, size_t *count);"
COMMENT = "    /** New. */\n"

# What, whether it is a break, what is looked for (a regular expression), and what stands there instead.
CASES = [
    ("nothing", False, r"\Z", ""),
    ("a function is gone", True, r"/\*\*\n(?: \*.*\n)+? \*/\nuint32_t weir_version\(void\);\n", ""),
    ("an argument's type", True, re.escape(STOP), "int weir_timer_stop(weir_timer *timer, int *count);"),
    ("an argument less", True, re.escape(STOP), "int weir_timer_stop(weir_timer *timer);"),
    ("an argument more", True, re.escape(STOP), "int weir_timer_stop(weir_timer *timer, size_t *count, int how);"),
    ("a result's type", True, re.escape(STOP), "int64_t weir_timer_stop(weir_timer *timer, size_t *count);"),
    ("another handle", True, re.escape(STOP), "int weir_timer_stop(weir_hook *timer, size_t *count);"),
    ("a callback's argument", True, r"\(\*weir_callback\)\(int status,", "(*weir_callback)(long status,"),
    ("a field's type", True, r"    int64_t stall_limit_ns;", "    int32_t stall_limit_ns;"),
    ("a field in between", True, r"    int64_t stall_limit_ns;",
     f"    uint64_t added;\n{COMMENT}    int64_t stall_limit_ns;"),
    ("a field is gone", True, r"    int32_t status;\n\} weir_record;", "} weir_record;"),
    ("two fields change places", True, r"(typedef struct weir_record \{\n(?:.*\n)*?)    void \*user;((?:.*\n)*?)    uint64_t value;",
     r"\1    uint64_t value;\2    void *user;"),
    ("a field at the end of a struct without a size", True, r"\} weir_record;", COMMENT + "    uint64_t added;\n} weir_record;"),
    ("a constant's value", True, r"#define WEIR_OP_CONNECT 4", "#define WEIR_OP_CONNECT 40"),
    ("a constant is gone", True, r"/\*\*\n \*[^/]*\*/\n#define WEIR_OP_CONNECT 4\n", ""),
    ("a new function", False, re.escape(STOP), STOP + "\n\n/** New. */\nint weir_timer_added(weir_timer *timer);"),
    ("a new struct and a new constant", False, re.escape(STOP),
     STOP + "\n\n/** New. */\n#define WEIR_ADDED 1\n\n/** New. */\ntypedef struct weir_added {\n" + COMMENT
     + "    int added;\n} weir_added;"),
    ("a field at the end of a struct with a size", False, r"\} weir_context_options;",
     COMMENT + "    uint64_t added;\n} weir_context_options;"),
    ("the same, and another field changed", True, r"    int64_t stall_limit_ns;((?:.*\n)*?)\} weir_context_options;",
     r"    double stall_limit_ns;\1" + COMMENT + "    uint64_t added;\n} weir_context_options;"),
    ("a comment", False, r"Makes a timer of a context\.", "Makes a timer."),
]


def abi(action, folder, header, soname="libweir.so.7"):
    return subprocess.run([os.path.join(ROOT, "scripts/abi"), action, "--folder", folder, "--header", header,
                           "--soname", soname], capture_output=True, text=True)


def main():
    with open(os.path.join(ROOT, "include/weir.h"), encoding="utf-8") as file:
        good = file.read()
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "weir.h")

        def put(text):
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)

        def expect(what, done, status):
            fine = done.returncode == status
            print(f"{'ok' if fine else 'WRONG'}: {what}: exit status {done.returncode}")
            if not fine:
                wrong.append(what)
                print(done.stdout + done.stderr)

        put(good)
        expect("before a release", abi("check", folder, path), 0)
        expect("written", abi("write", folder, path), 0)
        for what, breaks, old, new in CASES:
            changed = re.sub(old, new, good, count=1)
            if changed == good and what != "nothing":
                wrong.append(what)
                print(f"WRONG: the case {what!r} changes nothing")
                continue
            put(changed)
            expect(what, abi("check", folder, path), 1 if breaks else 0)
            if breaks:
                expect(f"{what}, with a new soname", abi("check", folder, path, "libweir.so.8"), 0)
        # Room that the compiler left at the end of a struct is no field of before.
        padded = re.sub(r"\} weir_until;", COMMENT + "    uint32_t first;\n} weir_until;", good)
        put(padded)
        expect("written with padding", abi("write", folder, path), 0)
        put(padded.replace("} weir_until;", COMMENT + "    uint32_t second;\n} weir_until;"))
        expect("a new field in the padding", abi("check", folder, path), 1)
    print(f"{len(wrong)} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""generate_abi.py [--check]: writes weir/_abi.py and weir/_options.py from include/weir.h.

With --check nothing is written; the exit status is 1 where a file is not what the header says.
"""

import argparse
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
HEADER = os.path.join(os.path.dirname(HERE), "include", "weir.h")
OUTPUT = os.path.join(HERE, "weir", "_abi.py")
OPTIONS = os.path.join(HERE, "weir", "_options.py")
# Constants that programs need with the object layer, where they go by their names without WEIR_.
PUBLIC = ("WEIR_OPT_", "WEIR_WATCH_", "WEIR_SIGNALS_", "WEIR_RESOLVE_", "WEIR_REVERSE_")

SCALARS = {
    "int": "c_int", "unsigned int": "c_uint", "size_t": "c_size_t", "uint64_t": "c_uint64",
    "int64_t": "c_int64", "uint32_t": "c_uint32", "int32_t": "c_int32", "uint16_t": "c_uint16",
    "uint8_t": "c_uint8", "socklen_t": "c_uint32", "pid_t": "c_int", "char": "c_char",
}

# Structs of the system's that pass by address only, so that their layout need not be known here.
OPAQUE = {"void", "struct sockaddr", "struct sockaddr_storage", "struct rusage", "struct msghdr"}


class Unknown(Exception):
    pass


class Header:
    """What the header declares, each kind in the header's order."""

    def __init__(self, text):
        self.constants = []    # (name, text of the value)
        self.handles = []      # names
        self.structs = []      # (name, [(field, type, length or None)])
        self.callbacks = []    # (name, result, [types])
        self.types = []        # callbacks and structs by name, as they follow one another
        self.functions = []    # (name, result, [types], [names], thread sentence)
        self.read(text)

    def read(self, text):
        text = text[text.index("/* ---- version"):]
        text = re.sub(r"/\* ----.*?\*/", "", text)
        for match in re.finditer(
                r"(/\*\*(?P<doc>.*?)\*/\s*)?"
                r"(?P<code>#define[^\n]*|#\w+[^\n]*|typedef struct \w+ \{.*?\} \w+;|[^#/;{}]+;|\})",
                text, re.S):
            # A doc comment inside a struct is part of its code and goes here.
            code = re.sub(r"/\*.*?\*/", "", match["code"], flags=re.S)
            self.declaration(" ".join(code.split()), match["doc"] or "")

    def declaration(self, code, doc):
        if code.startswith("#define"):
            parts = code.split(None, 2)
            if len(parts) == 3:
                self.constants.append((parts[1], parts[2]))
        elif code.startswith("#") or code == "}":
            return
        elif match := re.fullmatch(r"typedef struct (\w+) \1;", code):
            self.handles.append(match[1])
        elif match := re.fullmatch(r"typedef struct (\w+) \{(.*)\} \1;", code):
            fields = [self.field(part) for part in match[2].split(";") if part.strip()]
            self.structs.append((match[1], fields))
            self.types.append(match[1])
        elif match := re.fullmatch(r"typedef (.+?)\(\*(\w+)\)\((.*)\);", code):
            types, _ = self.parameters(match[3])
            self.callbacks.append((match[2], self.result(match[1]), types))
            self.types.append(match[2])
        elif match := re.fullmatch(r"(.+?)\b(weir_\w+)\((.*)\);", code):
            types, names = self.parameters(match[3])
            thread = re.search(r"Thread: (.*?)(\n \*\n|$)", doc.rstrip("* \n"), re.S)
            if thread is None:
                raise Unknown(f"{match[2]}: no sentence on threads")
            sentence = re.sub(r"\s*\n\s*\*\s*", " ", thread[1]).strip()
            self.functions.append((match[2], self.result(match[1]), types, names, sentence))
        else:
            raise Unknown(f"not understood: {code!r}")

    def result(self, text):
        text = text.strip()
        return "None" if text == "void" else self.type(text)

    def parameters(self, text):
        if text.strip() in ("", "void"):
            return [], []
        pairs = [self.split(part) for part in text.split(",")]
        return [self.type(kind) for kind, _ in pairs], [name for _, name in pairs]

    def split(self, text):
        match = re.fullmatch(r"(.+?)(\w+)", text.strip(), re.S)
        if match is None:
            raise Unknown(f"not a parameter: {text!r}")
        return match[1].strip(), match[2]

    def field(self, text):
        text = text.strip()
        if match := re.fullmatch(r"(.+?)\(\*(\w+)\)\((.*)\)", text):
            types, _ = self.parameters(match[3])
            inner = ", ".join([self.result(match[1]), *types])
            return match[2], f"CFUNCTYPE({inner})", None
        array = re.fullmatch(r"(.+?)\[(\d+)\]", text)
        kind, name = self.split(array[1] if array else text)
        return name, self.type(kind), int(array[2]) if array else None

    def type(self, text):
        """A C type as the name of a ctypes type."""
        plain = " ".join(re.sub(r"\bconst\b", " ", text).replace("*", " * ").split())
        stars = plain.count("*")
        base = plain.replace("*", "").strip()
        callbacks = {name for name, _, _ in self.callbacks}
        structs = {name for name, _ in self.structs}
        if stars == 0:
            if base in SCALARS:
                return SCALARS[base]
            if base in callbacks or base in structs:
                return base
        elif base == "char" and stars == 1:
            return "c_char_p" if "const" in text else "c_void_p"
        elif base in OPAQUE or base in self.handles:
            return "c_void_p" if stars == 1 else "POINTER(c_void_p)"
        elif stars == 1 and base == "struct iovec":
            return "POINTER(iovec)"
        elif stars == 1 and (base in SCALARS or base in structs):
            return f"POINTER({SCALARS.get(base, base)})"
        raise Unknown(f"no ctypes type for {text!r}")


PREFACE = '''"""weir.h as ctypes sees it. Written by generate_abi.py; do not edit.

Names are those of the header, which is the reference. Functions are in `FUNCTIONS`: weir._library binds them.
"""

# fmt: off

from __future__ import annotations

from ctypes import (
    CFUNCTYPE, POINTER, Structure, c_char, c_char_p, c_int, c_int32, c_int64, c_size_t, c_uint, c_uint32,
    c_uint64, c_void_p,
)
from typing import Any, Callable, Optional

'''

PYTHON_TYPES = {"None": "None", "c_char_p": "Optional[bytes]", "c_void_p": "Optional[int]"}


def constant(value):
    return {"INT64_MAX": "0x7FFF_FFFF_FFFF_FFFF"}.get(value, value)


def listed(types):
    return f"({', '.join(types)}{',' if len(types) == 1 else ''})"


def write(header):
    lines = [PREFACE]
    put = lines.append

    put("class iovec(Structure):\n    \"\"\"struct iovec of <sys/uio.h>.\"\"\"\n\n"
        "    _fields_ = [\n        (\"iov_base\", c_void_p),\n        (\"iov_len\", c_size_t),\n    ]\n\n\n")
    put("# Constants.\n\n")
    for name, value in header.constants:
        put(f"{name} = {constant(value)}\n")
    version = dict(header.constants)
    put("\nVERSION = \"" + ".".join(version[f"WEIR_VERSION_{part}"] for part in ("MAJOR", "MINOR", "PATCH")) + "\"\n")
    put("\n\n# Callbacks and structs.\n\n")
    callbacks = {name: (result, types) for name, result, types in header.callbacks}
    structs = dict(header.structs)
    for name in header.types:
        if name in callbacks:
            result, types = callbacks[name]
            put(f"{name} = CFUNCTYPE({', '.join([result, *types])})\n\n")
            continue
        put(f"class {name}(Structure):\n    _fields_ = [\n")
        for field, kind, length in structs[name]:
            put(f"        (\"{field}\", {kind if length is None else f'{kind} * {length}'}),\n")
        put("    ]\n\n\n")
    put("# The types of handles; a handle itself is an int (a token, never an address).\n\nHANDLES = (\n")
    for name in header.handles:
        put(f"    \"{name}\",\n")
    put(")\n\nSTRUCTS = {\n")
    for name, _ in header.structs:
        put(f"    \"{name}\": {name},\n")
    put("}\n\n# For each function: may it block (or call back), the type of its result, those of its arguments.\n\n"
        "FUNCTIONS: dict[str, tuple[bool, Any, tuple[Any, ...]]] = {\n")
    for name, result, types, _, thread in header.functions:
        # ctypes takes no None for a function pointer, and NULL is what most callers give; c_void_p takes both.
        types = ["c_void_p" if kind in callbacks else kind for kind in types]
        put(f"    \"{name}\": ({blocks(thread)}, {result}, {listed(types)}),\n")
    put("}\n\n\nclass Functions:\n    \"\"\"The functions of the library by name, for type checkers.\"\"\"\n\n")
    for name, result, _, _, _ in header.functions:
        put(f"    {name}: Callable[..., {PYTHON_TYPES.get(result, 'int')}]\n")
    return "".join(lines)


def blocks(thread):
    """The header says of each function that it never blocks, or what it waits for."""
    if "may block" in thread or "but for the callback" in thread:
        return True
    if "never blocks" in thread:
        return False
    raise Unknown(f"does it block: {thread!r}")


def write_options(header):
    lines = ['"""The constants of weir.h that go with the object layer. Written by generate_abi.py; do not edit."""\n\n']
    for name, value in header.constants:
        if name.startswith(PUBLIC):
            lines.append(f"{name[len('WEIR_'):]} = {constant(value)}\n")
    return "".join(lines)


def generate():
    """The text of each file."""
    with open(HEADER, encoding="utf-8") as file:
        header = Header(file.read())
    return {OUTPUT: write(header), OPTIONS: write_options(header)}


def is_current(path, text):
    try:
        with open(path, encoding="utf-8") as file:
            return file.read() == text
    except FileNotFoundError:
        return False


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    for path, text in generate().items():
        if is_current(path, text):
            continue
        if given.check:
            print(f"{path} is not what include/weir.h says: run python/generate_abi.py", file=sys.stderr)
            return 1
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Reads include/weir.h, as cbindgen writes it, into sections of functions, structs, callbacks and constants.

Whatever it does not know, and whatever has no comment, is an error: the reference is made from this.
"""

import re
from dataclasses import dataclass, field


class NotUnderstood(Exception):
    pass


@dataclass
class Doc:
    """A comment, as paragraphs of plain text. Those that begin with "Errors:" and "Thread:" stand apart."""
    text: list
    errors: str = ""
    thread: str = ""

    @property
    def threads(self):
        """The "Thread:" paragraph as a sentence."""
        text = re.sub(r"^any\b", "may be called from any thread", self.thread)
        return text[:1].upper() + text[1:]

    @property
    def summary(self):
        """The first sentence, without its full stop."""
        first, depth = self.text[0], 0
        for at, c in enumerate(first):
            depth += (c == "(") - (c == ")")
            if depth == 0 and c in ".:;" and first[at + 1:at + 2] in ("", " "):
                return first[:at]
        return first


@dataclass
class Item:
    name: str
    kind: str           # function, struct, opaque, callback or constant
    doc: Doc
    text: str           # the declaration as it stands in the header, without inner comments
    section: str
    line: int
    returns: str = ""
    arguments: list = field(default_factory=list)
    fields: list = field(default_factory=list)      # of (declaration, Doc)
    value: str = ""


@dataclass
class Header:
    overview: list      # lines of the comment at the top
    sections: dict      # name -> [Item]

    @property
    def items(self):
        return [item for items in self.sections.values() for item in items]

    def of_kind(self, *kinds):
        return [item for item in self.items if item.kind in kinds]


def read_comment(lines):
    """Paragraphs of a comment's lines, from which the stars are gone."""
    text = "\n".join(line.strip() for line in lines).strip()
    paragraphs = [" ".join(part.split()) for part in re.split(r"\n\s*\n", text) if part.strip()]
    doc = Doc([])
    for paragraph in paragraphs:
        for word in ("Errors", "Thread"):
            if paragraph.startswith(word + ":"):
                setattr(doc, word.lower(), paragraph[len(word) + 1:].strip())
                break
        else:
            doc.text.append(paragraph)
    return doc


def split_arguments(text):
    text = " ".join(text.split())
    if text in ("", "void"):
        return []
    parts, depth = [""], 0
    for c in text:
        depth += (c == "(") - (c == ")")
        if c == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += c
    return [part.strip() for part in parts]


def name_of(declaration):
    """The name that a parameter or field declares."""
    pointer = re.search(r"\(\*\s*(\w+)\)", declaration)
    if pointer:
        return pointer.group(1)
    return re.search(r"(\w+)\s*(\[\w*\])?$", declaration).group(1)


class Reader:
    def __init__(self, text):
        self.lines = text.splitlines()
        self.at = 0

    def fail(self, why):
        raise NotUnderstood(f"weir.h:{self.at + 1}: {why}: {self.lines[self.at].strip()!r}")

    def comment(self):
        """The lines of the comment that begins here."""
        found = []
        while True:
            line = self.lines[self.at].strip()
            self.at += 1
            last = line.endswith("*/")
            line = line.removesuffix("*/")
            found.append(re.sub(r"^(/\*+|\*) ?", "", line).rstrip())
            if last:
                return found

    def statement(self):
        """Lines up to the next ; that stands at the end of one."""
        found = []
        while True:
            line = self.lines[self.at]
            found.append(line)
            self.at += 1
            if line.endswith(";"):
                return "\n".join(found)

    def fields(self, end):
        """What is in a struct: pairs of a declaration and its Doc."""
        found, doc = [], None
        while not self.lines[self.at].startswith("}"):
            if self.lines[self.at].strip().startswith("/**"):
                doc = read_comment(self.comment())
            elif self.lines[self.at].strip():
                if doc is None or not doc.text:
                    self.fail("a field without a comment")
                found.append((" ".join(self.statement().split()).removesuffix(";"), doc))
                doc = None
            else:
                self.at += 1
        if self.lines[self.at] != end:
            self.fail(f"expected {end!r}")
        self.at += 1
        return found

    def item(self, section, doc):
        line, start = self.lines[self.at], self.at + 1

        def make(name, kind, text, **more):
            if doc is None or not doc.text:
                raise NotUnderstood(f"weir.h:{start}: {name} has no comment")
            return Item(name, kind, doc, text, section, start, **more)

        constant = re.fullmatch(r"#define (WEIR_\w+) (.+)", line)
        opaque = re.fullmatch(r"typedef struct (weir_\w+) \1;", line)
        struct = re.fullmatch(r"typedef struct (weir_\w+) \{", line)
        if constant:
            self.at += 1
            return make(constant[1], "constant", line, value=constant[2])
        if opaque:
            self.at += 1
            return make(opaque[1], "opaque", line)
        if struct:
            self.at += 1
            fields = self.fields(f"}} {struct[1]};")
            body = "".join(f"    {text};\n" for text, _ in fields)
            return make(struct[1], "struct", f"{line}\n{body}}} {struct[1]};", fields=fields)
        text = self.statement()
        callback = re.fullmatch(r"typedef (.+?)\s?\(\*(weir_\w+)\)\((.*)\);", text, re.S)
        if callback:
            return make(callback[2], "callback", text, returns=callback[1],
                        arguments=split_arguments(callback[3]))
        function = re.fullmatch(r"([\w ]+?[ *]+)(weir_\w+)\((.*)\);", text, re.S)
        if function:
            return make(function[2], "function", text, returns=function[1].strip(),
                        arguments=split_arguments(function[3]))
        self.at = start - 1
        self.fail("a declaration of no known kind")

    def header(self):
        overview, sections, section, doc = [], {}, None, None
        while self.at < len(self.lines):
            line = self.lines[self.at]
            rule = re.match(r"/\* -{4} (\w+) -+ \*/$", line)
            if rule:
                section = rule[1]
                sections[section] = []
                self.at += 1
            elif line.startswith("/**"):
                doc = read_comment(self.comment())
            elif line.startswith("/*"):
                overview = self.comment()
            elif line == "#ifdef __cplusplus":
                while self.lines[self.at] != "#endif":
                    self.at += 1
                self.at += 1
            elif section is None or not line or line.startswith("#endif"):
                self.at += 1
            else:
                sections[section].append(self.item(section, doc))
                doc = None
        return Header(overview, {name: items for name, items in sections.items() if items})


def read_header(path):
    with open(path, encoding="utf-8") as file:
        return Reader(file.read()).header()


def read_version(cargo_toml):
    with open(cargo_toml, encoding="utf-8") as file:
        return re.search(r'^version = "(\d+\.\d+\.\d+)', file.read(), re.M)[1]

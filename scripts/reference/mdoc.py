"""Plain text of the header's comments as mdoc(7): names become references, and each sentence begins a line."""

import re

WIDTH = 78

MARK = re.compile(r"""
    `(?P<code>[^`]+)`
    | (?P<call>\b\w+)\((?P<section>[1-9]?)\)
    | (?P<constant>\bWEIR_[A-Z0-9_]*[A-Z0-9]\b(?!\.\.\.))
    | (?P<errno>(?<![\w-])-E[A-Z0-9]{2,}\b)
    | (?P<type>\bweir_\w+\b)
""", re.X)

OPENING, CLOSING = "([", ".,:;)]?!"


def escape(text):
    """Text as roff's source."""
    text = text.replace("\\", "\\e")
    return re.sub(r"(?<![\w])-(?=\w)", r"\\-", text)


def argument(text):
    """Text as one argument of a macro."""
    text = escape(text).replace('"', '\\(dq')
    # A word that is a macro's name would be called.
    if re.fullmatch(r"[A-Z%][A-Za-z1]{1,2}|" + r"|".join(re.escape(c) for c in OPENING + CLOSING + "|"), text):
        text = "\\&" + text
    return f'"{text}"' if " " in text else text


class Text:
    """`pages` maps names to the section of their manual page; `here` are the names of this page."""

    def __init__(self, pages, here):
        self.pages, self.here = pages, here
        self.mentioned = set()

    def macro(self, mark):
        """A mark as a macro with its arguments, or None where it is plain text after all."""
        kind = mark.lastgroup if mark.lastgroup != "section" else "call"
        if kind == "code":
            plain = re.fullmatch(r"[*&]?\w+(->\w+)?", mark["code"])
            return f"{'Fa' if plain else 'Ql'} {argument(mark['code'])}"
        if kind == "call":
            name, section = mark["call"], mark["section"] or self.pages.get(mark["call"])
            if name in self.here:
                return f"Fn {name}"
            if name.startswith("weir_") and name not in self.pages:
                raise ValueError(f"a comment mentions {name}(), which is not in the header")
            if section is None:
                return f"Fn {argument(name)}"
            self.mentioned.add((name, section))
            return f"Xr {name} {section}"
        if kind == "constant":
            return f"Dv {mark['constant']}"
        if kind == "errno":
            return "Er " + escape(mark["errno"])
        name = mark["type"]
        if name not in self.pages:
            return None
        if name not in self.here:
            self.mentioned.add((name, self.pages[name]))
        return f"Vt {name}"

    def marked(self, word):
        """A word that has marks, as one line; None if it has none."""
        parts, at = [], 0
        for mark in MARK.finditer(word):
            macro = self.macro(mark)
            if macro is None:
                continue
            parts += [word[at:mark.start()], macro]
            at = mark.end()
        if not parts:
            return None
        before, last = parts[0], word[at:]
        line = "."
        if before and set(before) <= set(OPENING):
            line += parts[1][:2] + " " + " ".join(before) + parts[1][2:]
        elif before:
            line += f"No {argument(before)} Ns {parts[1]}"
        else:
            line += parts[1]
        for between, macro in zip(parts[2::2], parts[3::2]):
            line += (f" Ns No {argument(between)}" if between else "") + f" Ns {macro}"
        stuck = last.rstrip(CLOSING)
        if stuck:
            line += f" Ns No {argument(stuck)}"
        return line + "".join(" " + c for c in last[len(stuck):])

    def lines(self, paragraph):
        """A paragraph as lines of mdoc."""
        # Code may have blanks: it stays one word.
        words = re.sub(r"`[^`]+`", lambda code: code.group().replace(" ", "\0"), paragraph).split(" ")
        out, line = [], ""

        def end():
            nonlocal line
            if line:
                out.append("\\&" + line if line[0] in ".'" else line)
            line = ""

        for word in words:
            word = word.replace("\0", " ")
            marked = self.marked(word)
            if marked:
                end()
                out.append(marked)
                continue
            word = escape(word)
            if len(line) + 1 + len(word) > WIDTH:
                end()
            line += (" " if line else "") + word
            if re.search(r"[.!?][)\"']*$", word):
                end()
        end()
        return out

    def paragraphs(self, texts):
        out = []
        for text in texts:
            out += [".Pp"] if out else []
            out += self.lines(text)
        return out

"""Builds the wheel: for pip (a build backend of this folder's own, which needs nothing), and by `python/wheel`.

With the path of a libweir.so in WEIR_WHEEL_LIBRARY the wheel holds that library and is tagged by the machine and the
glibc that it needs; without one it holds Python alone and finds the system's libweir, or WEIR_LIBRARY.
"""

import base64
import hashlib
import io
import os
import re
import subprocess
import tarfile
import time
import zipfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
LICENSES = ("LICENSE-APACHE", "LICENSE-MIT")
# auditwheel's table begins here.
OLDEST_GLIBC = (2, 17)

METADATA = """Metadata-Version: 2.1
Name: weir
Version: {version}
Summary: libweir from Python: an event loop for Linux
License: MIT OR Apache-2.0
Keywords: event loop,epoll,asyncio,networking
Classifier: Development Status :: 4 - Beta
Classifier: Intended Audience :: Developers
Classifier: License :: OSI Approved :: Apache Software License
Classifier: License :: OSI Approved :: MIT License
Classifier: Operating System :: POSIX :: Linux
Classifier: Programming Language :: Python :: 3
Classifier: Programming Language :: Python :: Implementation :: CPython
Classifier: Typing :: Typed
Requires-Python: >=3.9
Description-Content-Type: text/markdown

{readme}"""


def version():
    with open(os.path.join(HERE, "weir", "_abi.py"), encoding="utf-8") as file:
        return re.search(r'^VERSION = "([^"]+)"', file.read(), re.M).group(1)


def metadata():
    with open(os.path.join(HERE, "README.md"), encoding="utf-8") as file:
        return METADATA.format(version=version(), readme=file.read()).encode()


def sources():
    """(name in the wheel, path) of each file of the package."""
    found = []
    for folder, folders, files in os.walk(os.path.join(HERE, "weir")):
        folders[:] = sorted(name for name in folders if name not in ("__pycache__", "lib"))
        for name in sorted(files):
            if name.endswith((".py", ".typed")):
                path = os.path.join(folder, name)
                found.append((os.path.relpath(path, HERE), path))
    return found


def glibc_needed(library):
    """The newest version of glibc that a symbol of the library asks for."""
    text = subprocess.run(["readelf", "--version-info", "--wide", library], check=True, capture_output=True,
                          text=True, env={**os.environ, "LC_ALL": "C"}).stdout
    needs = text[text.find("Version needs section"):] if "Version needs section" in text else ""
    found = {tuple(map(int, match.split("."))) for match in re.findall(r"Name: GLIBC_([\d.]+)", needs)}
    if not found:
        raise SystemExit(f"{library}: needs no glibc, which can't be")
    return max(max(found)[:2], OLDEST_GLIBC)


def machine_of(library):
    with open(library, "rb") as file:
        head = file.read(20)
    names = {62: "x86_64", 183: "aarch64", 243: "riscv64", 21: "ppc64le", 22: "s390x"}
    if head[:4] != b"\x7fELF" or head[4] != 2:
        raise SystemExit(f"{library}: no 64-bit ELF file")
    number = int.from_bytes(head[18:20], "little" if head[5] == 1 else "big")
    return names[number]


def tag(library):
    if library is None:
        return "py3-none-any"
    major, minor = glibc_needed(library)
    return f"py3-none-manylinux_{major}_{minor}_{machine_of(library)}"


class Wheel:
    """A zip file with a list of what is in it; the same bytes for the same content."""

    def __init__(self, path):
        self.zip = zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED)
        self.record = []
        seconds = int(os.environ.get("SOURCE_DATE_EPOCH", "315532800"))
        self.date = max(time.gmtime(seconds)[:6], (1980, 1, 1, 0, 0, 0))

    def add(self, name, data, mode=0o644):
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        self.record.append(f"{name},sha256={digest},{len(data)}\n")
        self.put(name, data, mode)

    def put(self, name, data, mode=0o644):
        entry = zipfile.ZipInfo(name, self.date)
        entry.external_attr = (0o100000 | mode) << 16
        entry.compress_type = zipfile.ZIP_DEFLATED
        self.zip.writestr(entry, data)

    def close(self, info):
        name = f"{info}/RECORD"
        self.put(name, ("".join(self.record) + f"{name},,\n").encode())
        self.zip.close()


def read(path):
    with open(path, "rb") as file:
        return file.read()


def licenses():
    # A source distribution has them beside this file.
    for name in LICENSES:
        for folder in (HERE, ROOT):
            path = os.path.join(folder, name)
            if os.path.exists(path):
                yield name, path
                break


def write(folder, library, files, root_is_pure):
    info = f"weir-{version()}.dist-info"
    name = f"weir-{version()}-{tag(library)}.whl"
    wheel = Wheel(os.path.join(folder, name))
    for inside, path in files:
        wheel.add(inside, read(path))
    if library:
        wheel.add("weir/lib/libweir.so.0", read(library), 0o755)
    for license_name, path in licenses():
        wheel.add(f"{info}/licenses/{license_name}", read(path))
    wheel.add(f"{info}/METADATA", metadata())
    wheel.add(f"{info}/WHEEL", (
        f"Wheel-Version: 1.0\nGenerator: libweir ({version()})\n"
        f"Root-Is-Purelib: {'true' if root_is_pure else 'false'}\nTag: {tag(library)}\n").encode())
    wheel.close(info)
    return name


# What pip calls (PEP 517 and PEP 660).

def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    library = os.environ.get("WEIR_WHEEL_LIBRARY") or None
    return write(wheel_directory, library, sources(), root_is_pure=library is None)


def build_sdist(sdist_directory, config_settings=None):
    base = f"weir-{version()}"
    with tarfile.open(os.path.join(sdist_directory, f"{base}.tar.gz"), "w:gz", format=tarfile.PAX_FORMAT) as archive:
        names = ["README.md", "pyproject.toml", os.path.basename(__file__)]
        files = [(name, os.path.join(HERE, name)) for name in names] + sources() + list(licenses())
        for name, path in files:
            archive.add(path, f"{base}/{name}")
        entry = tarfile.TarInfo(f"{base}/PKG-INFO")
        data = metadata()
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    return f"{base}.tar.gz"

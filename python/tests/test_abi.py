"""The thin layer is what weir.h says: names, layouts, and what a C compiler makes of them."""

import ctypes
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

from weir import _abi, abi

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))


class Abi(unittest.TestCase):
    def test_generated_file_is_current(self):
        script = os.path.join(ROOT, "python", "generate_abi.py")
        done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_every_symbol_is_there_and_bound(self):
        with open(os.path.join(ROOT, "include", "weir.symbols"), encoding="utf-8") as file:
            symbols = set(re.findall(r"weir_\w+", file.read()))
        self.assertEqual(symbols, set(_abi.FUNCTIONS))
        for name in symbols:
            self.assertTrue(callable(getattr(abi.lib, name)))

    @unittest.skipUnless(shutil.which("cc"), "no C compiler")
    def test_layouts_and_constants_are_those_of_the_compiler(self):
        questions = []
        for name, struct in _abi.STRUCTS.items():
            questions.append((f"sizeof({name})", ctypes.sizeof(struct)))
            for field, *_ in struct._fields_:
                questions.append((f"offsetof({name}, {field})", getattr(struct, field).offset))
                questions.append((f"sizeof((({name} *)0)->{field})", getattr(struct, field).size))
        for name, value in vars(_abi).items():
            if name.startswith("WEIR_"):
                questions.append((name, value))
        asserts = "".join(f'_Static_assert({what} == {value}, "{what}");\n' for what, value in questions)
        self.assertGreater(len(questions), 250)
        with tempfile.TemporaryDirectory() as folder:
            source = os.path.join(folder, "layout.c")
            with open(source, "w", encoding="utf-8") as file:
                file.write("#include <weir.h>\n" + asserts)
            done = subprocess.run(["cc", "-std=c11", "-fsyntax-only", "-I", os.path.join(ROOT, "include"), source],
                                  capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_functions_that_may_block_release_the_gil(self):
        for name in ("run", "run_one", "run_for", "run_until", "wait_one", "poll", "reap", "enter", "destroy"):
            self.assertTrue(_abi.FUNCTIONS[f"weir_context_{name}"][0], name)
        for name in ("weir_stream_try_write", "weir_context_post", "weir_timer_wait", "weir_stream_close"):
            self.assertFalse(_abi.FUNCTIONS[name][0], name)

    def test_an_unknown_name_is_an_attribute_error(self):
        with self.assertRaises(AttributeError):
            abi.lib.weir_no_such_function


class Finding(unittest.TestCase):
    def run_import(self, **environment):
        return subprocess.run([sys.executable, "-c", "import weir.abi"], capture_output=True, text=True,
                              env={**os.environ, **environment}, timeout=60)

    def test_a_library_that_is_not_there_is_an_import_error(self):
        done = self.run_import(WEIR_LIBRARY="/nonexistent/libweir.so")
        self.assertIn("ImportError", done.stderr)
        self.assertIn("WEIR_LIBRARY", done.stderr)

    @unittest.skipUnless(shutil.which("cc"), "no C compiler")
    def test_a_library_of_another_version_is_an_import_error(self):
        with tempfile.TemporaryDirectory() as folder:
            library = os.path.join(folder, "other.so")
            subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", library], check=True,
                           input="unsigned weir_version(void) { return 9 << 16; }", text=True)
            done = self.run_import(WEIR_LIBRARY=library)
        self.assertIn("ImportError", done.stderr)
        self.assertIn("version 9.0", done.stderr)

    @unittest.skipUnless(shutil.which("cc"), "no C compiler")
    @unittest.skipUnless("weir_struct_size" in _abi.FUNCTIONS, "weir.h has no weir_struct_size")
    def test_a_library_with_other_structs_is_an_import_error(self):
        with tempfile.TemporaryDirectory() as folder:
            library = os.path.join(folder, "other.so")
            version = _abi.WEIR_VERSION_MAJOR << 16 | _abi.WEIR_VERSION_MINOR << 8
            subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", library], check=True, text=True, input=(
                "#include <string.h>\n"
                f"unsigned weir_version(void) {{ return {version}; }}\n"
                'size_t weir_struct_size(const char *name) { return strcmp(name, "weir_record") ? 0 : 40; }\n'))
            done = self.run_import(WEIR_LIBRARY=library)
        self.assertIn("ImportError", done.stderr)
        self.assertIn("weir_record has 40 bytes", done.stderr)


if __name__ == "__main__":
    unittest.main()

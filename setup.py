"""Builds owl._runtime: the Cython scheduler, the C++ engine under it, and the kernels once per instruction set.

Environment:
  OWL_DEBUG=1          assertions and counters of the graph's lock, little optimization
  OWL_SANITIZE=KIND    address, undefined or thread: everything under that sanitizer (preload its runtime to import owl)
  CXX, CXXFLAGS        another compiler, further flags
  MAX_JOBS             compilations at a time; by default one per core

Objects are kept in build/native, one folder per kind of build, and made anew when their command or any file that they
include has changed.
"""

import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy
from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError, PlatformError

ROOT = Path(__file__).resolve().parent
PACKAGE = ROOT / "owl"
DEBUG = os.environ.get("OWL_DEBUG", "0") not in ("", "0")
SANITIZE = os.environ.get("OWL_SANITIZE", "")
X86_64 = platform.machine().lower() in ("x86_64", "amd64")

# The instruction sets that the kernels are compiled for. One is chosen when owl is loaded, so a build runs anywhere and
# must never ask for the building machine's own set (-march=native).
INSTRUCTION_SETS = {"generic": []}
if X86_64:
    INSTRUCTION_SETS |= {
        "avx2": ["-mavx2", "-mfma"],
        "avx512": [
            *("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx2", "-mfma"),
            "-mprefer-vector-width=512",
        ],
    }

COMMON = ["-std=c++17", "-fPIC", "-pthread", "-fvisibility=hidden", "-Wall", "-Wextra"]
COMMON += [f"-I{ROOT}", f"-I{PACKAGE}"]
# No contraction across operations: fusing kernels must not change rounding.
KERNELS = ["-ffp-contract=off", "-fno-math-errno", "-fno-exceptions", "-fno-rtti"]
CYTHON = [
    f"-I{sysconfig.get_path('include')}",
    f"-I{numpy.get_include()}",
    "-DNPY_NO_DEPRECATED_API=NPY_1_7_API_VERSION",
    # What Cython generates is not clean under these.
    *("-Wno-unused-parameter", "-Wno-unused-function", "-Wno-cast-function-type", "-Wno-missing-field-initializers"),
]
if not X86_64:
    COMMON.append("-DOWL_ONLY_GENERIC")

SANITIZERS = {
    "address": ["-fsanitize=address"],
    # vptr needs run-time type information, which the kernels do without.
    "undefined": ["-fsanitize=undefined", "-fno-sanitize=vptr", "-fno-sanitize-recover=undefined"],
    "thread": ["-fsanitize=thread"],
}
SANITIZER_FLAGS: list[str] = []
if SANITIZE:
    if SANITIZE not in SANITIZERS:
        sys.exit(f"OWL_SANITIZE={SANITIZE}: one of {', '.join(SANITIZERS)}")
    SANITIZER_FLAGS = SANITIZERS[SANITIZE]
    COMMON += [*SANITIZER_FLAGS, "-fno-omit-frame-pointer"]
if DEBUG:
    COMMON.append("-DOWL_DEBUG=1")
elif not SANITIZE:
    COMMON.append("-DNDEBUG")


def optimisation(release: list[str]) -> list[str]:
    return ["-O1", "-g"] if DEBUG or SANITIZE else release


def compiler() -> list[str]:
    return shlex.split(os.environ.get("CXX") or sysconfig.get_config_var("CXX") or "c++")


def jobs() -> int:
    return int(os.environ.get("MAX_JOBS") or os.cpu_count() or 1)


@dataclass(frozen=True)
class Unit:
    """One source compiled with one set of flags to one object."""

    source: Path
    object: Path
    flags: list[str]

    @property
    def command(self) -> list[str]:
        return [*compiler(), *self.flags, *shlex.split(os.environ.get("CXXFLAGS", "")), "-c", str(self.source)]

    def up_to_date(self) -> bool:
        """Whether the object is newer than all that it was made of, and was made by the same command."""
        try:
            made = self.object.stat().st_mtime_ns
            if self.object.with_suffix(".cmd").read_text() != shlex.join(self.command):
                return False
            # A makefile rule, "object: file file \", as the compiler wrote it.
            rule = self.object.with_suffix(".d").read_text().replace("\\\n", " ")
            included = shlex.split(rule.partition(": ")[2])
            return all(Path(file).stat().st_mtime_ns < made for file in included)
        except OSError:
            return False

    def compile(self) -> None:
        self.object.parent.mkdir(parents=True, exist_ok=True)
        # Moved into place when complete, so that neither an interrupt nor a second build leaves half an object.
        partial = self.object.with_suffix(f".{os.getpid()}.o")
        dependencies = self.object.with_suffix(".d")
        output = ["-MMD", "-MF", str(dependencies), "-MT", "object", "-o", str(partial)]
        done = subprocess.run([*self.command, *output], capture_output=True, text=True)
        sys.stderr.write(done.stderr)
        if done.returncode:
            partial.unlink(missing_ok=True)
            raise CompileError(f"{shlex.join(self.command)} failed with code {done.returncode}\n{done.stderr}")
        self.object.with_suffix(".cmd").write_text(shlex.join(self.command))
        partial.replace(self.object)


class BuildRuntime(build_ext):
    """Generates the C++ of the Cython module, compiles what has changed, and links everything to one extension."""

    def build_extension(self, ext: Extension) -> None:
        if sys.platform == "win32":
            raise PlatformError("owl runs on Linux and macOS; on Windows, use it under WSL")
        kind = "-".join(filter(None, ["debug" if DEBUG else "release", SANITIZE]))
        tag = f"{sysconfig.get_platform()}-{sys.implementation.cache_tag}-{kind}"
        # Not in build_temp: an editable install throws that away, and with it all that need not be compiled again.
        folder = ROOT / "build" / "native" / tag
        units = self.units(ext, folder)
        stale = [unit for unit in units if self.force or not unit.up_to_date()]
        if stale:
            print(f"compiling {len(stale)} of {len(units)} objects in {folder}", flush=True)
            with ThreadPoolExecutor(jobs()) as pool:
                for _ in pool.map(Unit.compile, stale):
                    pass
        self.link(ext, [unit.object for unit in units])

    def units(self, ext: Extension, folder: Path) -> list[Unit]:
        def unit(source: Path, subfolder: str, flags: list[str]) -> Unit:
            place = source.relative_to(PACKAGE).with_suffix(".o")
            return Unit(source, folder / subfolder / place, [*COMMON, *flags])

        kernels = sorted((PACKAGE / "_cpu" / "kernels").rglob("*.cpp"))
        dispatch = [source for source in kernels if source.stem == "dispatch"]
        # The largest go first, so that none is left running alone at the end.
        return [
            self.module(ext, folder),
            *(
                # A table is filled while the module loads, on whatever machine that is: no flags beyond the baseline.
                unit(
                    source,
                    isa,
                    [*optimisation(["-O3"]), *KERNELS, f"-DOWL_ISA={isa}", *(flags if source.stem != "table" else [])],
                )
                for isa, flags in sorted(INSTRUCTION_SETS.items())
                for source in kernels
                if source not in dispatch
            ),
            *(unit(source, "kernels", [*optimisation(["-O2"]), *KERNELS]) for source in dispatch),
            *self.native(PACKAGE / "_cpu", "*.cpp", folder),
            *self.native(PACKAGE / "_cuda", "*.cpp", folder),
            *self.native(PACKAGE / "_null", "*.cpp", folder),
            *self.native(PACKAGE / "_engine", "**/*.cpp", folder),
        ]

    def module(self, ext: Extension, folder: Path) -> Unit:
        source = self.generate(ext, folder)
        return Unit(source, folder / "runtime" / f"{source.stem}.o", [*COMMON, *CYTHON, *optimisation(["-O2", "-g1"])])

    def native(self, room: Path, pattern: str, folder: Path) -> list[Unit]:
        flags = [*COMMON, *optimisation(["-O2", "-g1"])]
        return [
            Unit(source, folder / "engine" / source.relative_to(PACKAGE).with_suffix(".o"), flags)
            for source in sorted(room.glob(pattern))
        ]

    def generate(self, ext: Extension, folder: Path) -> Path:
        """Runs Cython if any of its sources is newer than what it made of them last time."""
        from Cython import __version__ as cython_version
        from Cython.Compiler.Main import compile as cython_compile

        source = ROOT / ext.sources[0]
        target = folder / "cython" / (source.stem + ".cpp")
        stamp = target.with_suffix(".version")
        newest = max((ROOT / file).stat().st_mtime_ns for file in [*ext.sources, *ext.depends])
        fresh = (
            not self.force
            and target.exists()
            and stamp.exists()
            and stamp.read_text() == cython_version
            and newest < target.stat().st_mtime_ns
        )
        if not fresh:
            target.parent.mkdir(parents=True, exist_ok=True)
            result = cython_compile(
                ext.sources[0],
                output_file=str(target),
                cplus=True,
                full_module_name=ext.name,
                include_path=["."],
                compiler_directives=DIRECTIVES,
            )
            if result.num_errors:
                target.unlink(missing_ok=True)
                raise CompileError(f"{ext.sources[0]}: {result.num_errors} errors from Cython")
            stamp.write_text(cython_version)
        return target

    def link(self, ext: Extension, objects: list[Path]) -> None:
        output = Path(self.get_ext_fullpath(ext.name))
        stamp = objects[0].parent.parent / f"linked-{ext.name}"
        newest = max(item.stat().st_mtime_ns for item in objects)
        if output.exists() and stamp.exists() and stamp.read_text() == f"{output} {output.stat().st_mtime_ns} {newest}":
            return
        output.parent.mkdir(parents=True, exist_ok=True)
        self.compiler.link_shared_object(
            [str(item) for item in objects],
            str(output),
            extra_postargs=["-pthread", *SANITIZER_FLAGS, *(["-ldl"] if sys.platform == "linux" else [])],
            export_symbols=self.get_export_symbols(ext),
            target_lang="c++",
        )
        stamp.write_text(f"{output} {output.stat().st_mtime_ns} {newest}")
        self.leave_in_place(output)

    def leave_in_place(self, output: Path) -> None:
        """Copies the extension beside its sources, which Python finds first when it starts in the checkout."""
        place = ROOT / "owl" / output.name
        if not (place.exists() and place.samefile(output)):
            partial = place.with_suffix(f".{os.getpid()}.partial")
            shutil.copy2(output, partial)
            partial.replace(place)


class BuildNativeTests(BuildRuntime):
    """Builds what drives the tests below the API: an extension of its own, of the engine's objects without a backend.

    The last line that it prints is the path of the extension.
    """

    description = "build the extension of tests/native"

    def finalize_options(self) -> None:
        super().finalize_options()
        headers = sorted(str(file.relative_to(ROOT)) for file in (ROOT / "tests" / "native").glob("*.h"))
        self.extensions = [
            Extension("native", ["tests/native/native.pyx"], depends=[*native_sources(), *headers], language="c++")
        ]

    def units(self, ext: Extension, folder: Path) -> list[Unit]:
        self.folder = folder
        here = ROOT / "tests" / "native"
        module = self.module(ext, folder)
        module.flags.append(f"-I{here}")
        flags = [*COMMON, *optimisation(["-O2"]), *KERNELS]  # as a kernel: nothing is contracted
        scalars = Unit(here / "scalars.cpp", folder / "engine" / "scalars.o", flags)
        return [module, scalars, *self.native(PACKAGE / "_engine", "**/*.cpp", folder)]

    def get_ext_fullpath(self, ext_name: str) -> str:
        return str(self.folder / "tests" / self.get_ext_filename(ext_name))

    def link(self, ext: Extension, objects: list[Path]) -> None:
        super().link(ext, objects)
        print(self.get_ext_fullpath(ext.name))

    def leave_in_place(self, output: Path) -> None:
        """Stays where it is."""


DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "cdivision": True,
    "embedsignature": True,
}


def native_sources() -> list[str]:
    """What the generated C++ depends on, and what a source distribution must hold besides the Python files."""
    patterns = ("*.pyx", "*.pxd", "*.pxi")
    return sorted(str(file.relative_to(ROOT)) for pattern in patterns for file in PACKAGE.rglob(pattern))


# What an installed owl compiles: the CUDA kernels, and the driver that stands in for CUDA's in tests.
KERNEL_TEXTS = [
    *("_cuda/blas.def", "_cuda/blas.h", "_cuda/driver.def", "_cuda/driver.h", "_cuda/kernels/*"),
    *("_cpu/kernels/*.h", "_cpu/kernels/random/*.h", "_cpu/kernels/reduce/*.h"),
    *("_engine/graph/operations.def", "_engine/graph/words.h", "_engine/graph/convolution.h"),
]

# Python must find this package wherever it starts, also in the folder above a checkout that is itself called owl. That
# checkout, a folder without an __init__.py, gives way to a package of its name on sys.path, but not to the finder that
# an editable install of another layout registers. So src/ holds nothing but a link to owl/, which makes
# setuptools put src/ on the path; and owl/apps, where programs are looked for, is a link to apps/.
setup(
    packages=find_packages("src"),
    package_dir={"": "src"},
    include_package_data=False,
    package_data={"owl": ["py.typed", "*.pyi", *KERNEL_TEXTS], "owl.testing._standin": ["*.cpp", "*.h"]},
    ext_modules=[Extension("owl._runtime", ["owl/_runtime.pyx"], depends=native_sources(), language="c++")],
    cmdclass={"build_ext": BuildRuntime, "build_native_tests": BuildNativeTests},
    zip_safe=False,
)

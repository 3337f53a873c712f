from __future__ import annotations

import argparse
import faulthandler
import sys
import time
from collections.abc import Sequence

import owl.testing
from owl.testing import _standin, fuzz
from owl.testing.fuzz.check import SETTINGS, SETTINGS_BESIDES
from owl.testing.fuzz.run import KINDS
from owl.testing.fuzz.worlds import DEVICES, choose_devices


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m owl.testing.fuzz", description=fuzz.__doc__.splitlines()[0])
    parser.add_argument("--programs", type=int, default=1000, help="stop after so many (default 1000)")
    parser.add_argument("--seed", type=int, default=1, help="which programs (default 1)")
    parser.add_argument("--first", type=int, default=0, help="the number of the first of them (default 0)")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long")
    parser.add_argument(
        "--kind",
        choices=tuple(KINDS),
        default="settings",
        help="compare settings of the planner (the default), run out of memory, or compare a GPU's interpreter with "
        "kernels that programs have of their own",
    )
    parser.add_argument("--devices", choices=tuple(DEVICES), default="cpu", help="what programs compute on (cpu)")
    parser.add_argument("--verbose", action="store_true", help="tell each program's number, to know which one crashed")
    options = parser.parse_args(arguments)
    faulthandler.enable()  # a crash is a find too, and --verbose tells of which program
    choose_devices(options.devices)
    start = time.monotonic()

    def tell(number: int) -> None:
        if options.verbose:
            print(f"program {number} of seed {options.seed}", file=sys.stderr, flush=True)

    try:
        passed = fuzz.run(options.programs, options.seed, options.seconds, options.first, tell, options.kind)
    except fuzz.ProgramError as error:
        print(error, file=sys.stderr)
        return 1
    driver = _standin.chosen()
    if driver and (problems := driver.problems()):
        print(*problems, sep="\n", file=sys.stderr)
        return 1
    seconds = time.monotonic() - start
    rate = passed / seconds if seconds else 0.0
    agree = f"agree under {len(SETTINGS) + SETTINGS_BESIDES} settings"
    if options.kind == "memory":
        agree = "lose nothing that there is memory for"
    elif options.kind == "specialized":
        kernels = owl.testing.specialized_kernels()
        agree = f"agree with {kernels['made']} kernels of their own, launched {kernels['launches']} times"
        if kernels["failed"] or not kernels["launches"]:
            print(f"programs {agree}; {kernels['failed']} kernels could not be made", file=sys.stderr)
            return 1
    print(f"{passed} programs {agree}, seed {options.seed}, {seconds:.0f} s, {rate:.1f} a second")
    return 0


if __name__ == "__main__":
    sys.exit(main())

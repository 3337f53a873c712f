"""``python -m benchmarks.gpu PART``: nets, arrays or service, each with options of its own (``--help``).

Figures are a GPU's only where there is one: with ``OWL_CUDA_DRIVER=standin`` and tiny sizes the benchmark tests itself.
"""

from __future__ import annotations

import argparse

from benchmarks.gpu import arrays, nets, service

PARTS = {"nets": nets, "arrays": arrays, "service": service}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = parser.add_subparsers(dest="part", required=True)
    for name, part in PARTS.items():
        part.arguments(
            parts.add_parser(name, description=part.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
        )
    options = parser.parse_args()
    PARTS[options.part].run(options)


if __name__ == "__main__":
    main()

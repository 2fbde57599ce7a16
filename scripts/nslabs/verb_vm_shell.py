"""A shell in a guest, with the labs on its PATH: one may break everything there.

What follows -- is run instead of the shell. The guest ends with it, and nothing is
left. Exit code: the shell's.
"""

from __future__ import annotations

import argparse

from .labs import find_house
from .vm import console
from .vm.options import the_machine, which_kernel
from .vm.parts import parts_for, terminal

SUMMARY = "a shell in a guest, where one may break everything"
ORDER = 7
AFTER = "COMMAND"  # may follow --


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `nslab vm shell`."""
    which_kernel(parser)
    parser.usage = f"{parser.prog} [OPTION]... [-- COMMAND [ARGUMENT]...]"


def main(args: argparse.Namespace) -> int:
    """Open the shell."""
    labs = find_house(args.build).choose_built([])
    parts = parts_for(labs, args.build, shell=True)
    machine = the_machine(args, parts)
    return console.shell(machine, parts, terminal(), args.after)

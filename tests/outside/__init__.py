"""Outside checks: one module a lab, its name with underscores.

A module holds functions `check_…(lab: Held)`. Each takes a lab that has just been
started, holds it where it wants, and confirms a fact with a second program. It
must pass in the experiment, and fail in the control and with a liar, which is a
program that prints the lab's trace and does nothing (tests/test_outside.py).
"""

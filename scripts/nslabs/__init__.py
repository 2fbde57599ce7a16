"""The Python side of nslabs: everything behind the command `nslab`.

A lab is a C program that prints a trace. These modules start labs, read traces,
and show what they said; none of them knows anything about namespaces except
`probe` and `doctor`, which look whether this machine can host the labs.

    labs      where the labs are
    trace     from the lines of a trace to a Result
    runner    starts labs and yields what happens
    report    shows results: table, KTAP, JSON
    junit     results as JUnit XML
    terminal  colour, width, wrapping, the live line
    markdown  a page in the terminal
    probe     what this machine allows, by trying
    doctor    the prerequisites, from probes
    packages  what a missing program is called in this distribution
    cli       the command line; each module `verb_NAME` is a verb

Standard library only.
"""

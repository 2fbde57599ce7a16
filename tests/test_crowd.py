"""Many at once: no two copies of a lab get in each other's way."""

from __future__ import annotations

import os
import subprocess

import pytest
from harness import labs

CROWD = 50


@pytest.mark.parametrize("name", labs.NAMES)
def test_fifty_copies_at_once_all_agree(name: str) -> None:
    player = labs.players()[-1]
    alone = labs.run(name, "--format=json", player=player)
    if alone.code == labs.SKIPPED:
        pytest.skip(alone.end["reason"])
    ready, go = os.pipe()  # held at their first step until the end of this input
    crowd = [
        subprocess.Popen(
            [str(labs.binary(name)), "--step"],
            stdin=ready,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            **player.popen,
        )
        for _ in range(CROWD)
    ]
    os.close(ready)
    os.close(go)
    told = [lab.communicate()[0] for lab in crowd]
    wrong = [out for lab, out in zip(crowd, told) if lab.returncode != labs.AGREES]
    assert len(told) == CROWD
    assert wrong == [], f"{len(wrong)} of {CROWD}; the first: {wrong[0]}"

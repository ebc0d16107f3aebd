"""drgn's own prompt, with the opened kernel and whatever helpers the caller has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import drgn
from drgn.cli import run_interactive


def interact(prog: drgn.Program, helpers: Mapping[str, Callable[..., Any]]) -> None:
    """Run the prompt until its user leaves it.

    Args:
        prog: the kernel: `prog` there.
        helpers: name -> function, each with a docstring whose first line explains it.
    """
    width = max(map(len, helpers))
    usage = [
        f"  {name:{width}}  {(helper.__doc__ or '').partition(chr(10))[0]}"
        for name, helper in helpers.items()
    ]
    run_interactive(
        prog,
        banner_func=lambda banner: "\n".join([banner, "of zaptrace:", *usage]),
        globals_func=lambda names: {**names, **helpers},
    )

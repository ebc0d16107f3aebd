"""`zaptrace repro --repeat`, and boots as a CI's test cases."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from zaptrace.model.errors import Exit
from zaptrace.model.verdict import VerdictKind

if TYPE_CHECKING:
    from zaptrace.report.ci import Case
    from zaptrace.runs.repeat import Repeats
    from zaptrace.runs.repro import Request


def many(request: Request, args: argparse.Namespace) -> Exit:
    """Return the same boot many times."""
    from zaptrace.cli.clusters import note, on_cluster
    from zaptrace.cli.output import print_json, progress
    from zaptrace.runs import from_user_space
    from zaptrace.runs.repeat import case_of, repeat, summary

    with progress() as listener:
        if args.origin == "user-space":
            repeats = from_user_space.repeat(request, args.repeat, args.jobs, listener)
        elif args.scheduler is None:
            repeats = repeat(request, args.repeat, args.jobs, listener)
        else:
            boots = on_cluster("zaptrace.runs.cluster.boots")
            repeats = boots.repeat(request, args.repeat, args.scheduler, listener, note)
    write_cases(args, [case_of(boot, args.expect) for boot in repeats.in_order])
    if args.json:
        print_json(repeats.to_json())
    else:
        print(summary(repeats))
    return repeats_code(repeats, args.expect)


def repeats_code(repeats: Repeats, expected: str | None) -> Exit:
    """Return what many boots mean for a caller.

    Args:
        expected: the verdict kind that every boot must have; None for `clean`.
    """
    wanted = expected or VerdictKind.CLEAN.value
    if any(kind != wanted for kind in repeats.verdicts):
        return Exit.BUG_FOUND
    return Exit.CANNOT_TELL if repeats.lost else Exit.OK


def write_cases(args: argparse.Namespace, cases: list[Case]) -> None:
    """Write what --junit and --ktap ask for."""
    from zaptrace.report.ci import junit, ktap

    suite = f"zaptrace.{args.arch}"
    if args.junit is not None:
        args.junit.write_bytes(junit(suite, cases))
    if args.ktap is not None:
        args.ktap.write_text(ktap(suite, cases))

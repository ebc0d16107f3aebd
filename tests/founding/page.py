"""The founding report's set-up as a page of the docs (pure)."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from pathlib import Path

from zaptrace.model.progress import Update

HEAD = """\
# The founding report's set-up

Written by `make founding-report` on {date}: {machine}.

- The source: Debian's {source} with `vm/patches`, which hold the batch zap as it was posted;
  `zapfault=batch` on the command line turns it on.
- The configuration: that of Debian 12's own kernel {release}, out of its package. bzImage alone
  is built, no modules.
- The guest: `-M s390-ccw-virtio -m 512M`, one CPU, and an initramfs whose user space begins with
  modprobe (`vm/guest/early`). The kernel finds /sbin/modprobe there before init runs, and calls it
  for what it misses.

## The configuration

What zaptrace changes in Debian's (`vm/kconfig/own*.config`, and what Kconfig makes of it), as
`zaptrace repro s390x --kernel-tree DIR` does for any tree:
"""


def page(
    date: datetime.date,
    machine: str,
    source: str,
    release: str,
    changes: Iterable[str],
    done: Iterable[Update],
    report: str,
) -> str:
    """The page, in Markdown.

    Args:
        source: the source tree's name.
        release: the stock kernel's.
        changes: lines of a diff.
        done: the steps, as they ended.
        report: what `zaptrace report` printed.
    """
    lines = [
        HEAD.format(date=date, machine=machine, source=source, release=release),
        *("```diff", *changes, "```", ""),
        *("## The steps", "", "```", *(_step(update) for update in done), "```", ""),
        *("## The report", "", "```", report.replace(str(Path.home()), "~").rstrip(), "```"),
    ]
    return "\n".join(lines) + "\n"


def _step(update: Update) -> str:
    note = f"  ({update.note})" if update.note else ""
    return f"{update.seconds or 0:8.2f} s  {update.title}{note}"

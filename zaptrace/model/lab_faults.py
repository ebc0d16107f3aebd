"""The faults that can be turned on in a lab kernel."""

from __future__ import annotations

FOUNDING = "batch"
FAULTS = {
    FOUNDING: "pages freed before their rmap is removed: July 2023",
    "none": "the clean zap path",
    "leak": "the rmap of a page is not removed",
    "underflow": "the rmap of a page is removed twice",
    "stale": "a page is freed, its PTE stays",
    "overput": "one put too many, while another PTE maps the page",
    "rss": "a page is not taken off its mm's rss counter",
    "leak-large": "leak, a page of a large folio",
    "underflow-large": "underflow, a page of a large folio",
    "stale-large": "stale, a page of a large folio",
    "overput-large": "overput, a page of a large folio",
    "rss-large": "rss, a page of a large folio",
    "cow": "a copy on write does not remove the old page's rmap",
    "fork": "the child maps a page, its rmap is not added",
    "mprotect": "a PTE is cleared instead of modified",
    "mremap": "a PTE is cleared, and not set at its new address",
    "pipe": "a pipe drops one reference to a page too many",
    "read": "read() drops one reference to a file's page too many",
    "scribble": "a stray store changes a page's _mapcount",
    "flag": "a stray store sets a page's PG_reserved",
    "hold": "a pipe keeps its reference to a page",
    "twice": "a pipe drops a reference to a page that is free",
    "driver": "a driver's mmap maps a page without a reference",
    "migrate": "a page is migrated, its new PTE gets no rmap",
    "swap": "reclaim unmaps a page, its rmap is not removed",
}
"""What a lab kernel's `zapfault=` takes (the table in its patches' mm/zapfault.c), and what
that is.  Those after "none" strike only tasks of their name (vm/guest/victim.c); those from
"cow" on are faults of other functions than the zap."""
OF_6_1 = frozenset({"hold", "twice", "driver", "migrate", "swap"})
"""Those that the repro kernels of the 6.1 series have alone."""

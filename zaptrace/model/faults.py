"""The faults that a lab kernel can be told to have."""

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
}
"""What a lab kernel's `zapfault=` takes (vm/patches/0002-*), and what that is.
Those behind "none" strike victims only (vm/guest/victim.c)."""

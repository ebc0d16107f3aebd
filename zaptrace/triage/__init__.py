"""Splats -> what an experienced person reads out of them: likely causes, and what to measure."""

from zaptrace.triage.console import BootFacts, Console
from zaptrace.triage.decision_table import ROWS, triage

__all__ = ["ROWS", "BootFacts", "Console", "triage"]

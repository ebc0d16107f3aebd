"""What a person or a program is handed: text and JSON."""

from zaptrace.report.document import summary
from zaptrace.report.info import RunInfo
from zaptrace.report.text import render

__all__ = ["RunInfo", "render", "summary"]

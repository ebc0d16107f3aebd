"""The report as one web page: its parts, its style, and how values are escaped."""

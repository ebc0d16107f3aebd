"""The one format for events on disk and on a pipe."""

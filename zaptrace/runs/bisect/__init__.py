"""From a good and a bad revision to the commit that brought the bug."""

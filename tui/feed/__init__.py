"""From a source to the screen: read in a thread, added up, kept, and handed over as snapshots."""

"""What the app is made of: panes, bars, and the lines in them."""

"""Plain data that every layer speaks: stdlib and numpy only."""

"""Stage 2: two class maps -> changes: the masks' code, pairs of dates, joint decoding, cleaning, analysis."""

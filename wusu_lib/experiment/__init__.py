"""From parameters to runs: what a notebook calls, and the kinds of run that it can ask for."""

"""The pages of the log: a topic a file, its figures, tables and sentences together.

A run may come out differently from the one that the author of a notebook saw. So no prose of a notebook
repeats a result; computed sentences do."""

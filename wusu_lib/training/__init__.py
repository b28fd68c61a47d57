"""Training and evaluation of a model: the study's recipe, resumable to the last bit. Imports torch."""

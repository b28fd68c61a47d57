"""Backbones and decoders by name, assembled through TerraTorch. Cheap to import; building a model is not.

``catalogue`` checks names and combinations, ``build`` builds. A family of backbones is a file."""

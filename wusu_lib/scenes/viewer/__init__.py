"""The page of changes: one HTML file, made of the frame, the style and the script beside it."""

"""The C driver, and in Python: images for it, building, measuring. Runs from the source tree, see README.md."""

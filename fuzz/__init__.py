"""Fuzz targets: one for each parser of a file or a request that others may have written."""

"""Scripts that make files of the documentation and of the package."""

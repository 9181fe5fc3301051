"""Build without files that were removed from src: setuptools never empties its build folder (pypa/setuptools#1871)."""

from shutil import rmtree

from setuptools import setup
from setuptools.command.build_py import build_py


class CleanBuild(build_py):
    """Copies the package into an empty folder."""

    def run(self) -> None:
        """Empty the folder, and copy."""
        if not self.editable_mode:
            rmtree(self.build_lib, ignore_errors=True)
        super().run()


setup(cmdclass={"build_py": CleanBuild})

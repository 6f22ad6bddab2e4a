"""Only what pyproject.toml cannot say: the .pth file belongs beside the package, where Python reads it at start."""
import os
import shutil

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithPth(build_py):
    NAME = "enginelight_hooks.pth"

    def run(self):
        super().run()
        if not self.editable_mode:
            shutil.copyfile(self.NAME, os.path.join(self.build_lib, self.NAME))

    def get_outputs(self, include_bytecode=1):
        return super().get_outputs(include_bytecode) + [os.path.join(self.build_lib, self.NAME)]


setup(cmdclass={"build_py": BuildWithPth})

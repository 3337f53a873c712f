"""The programs of scripts/, as modules."""

import importlib.machinery
import importlib.util
import sys
from types import ModuleType

import pytest

from tests.support.processes import ROOT

SCRIPTS = ROOT / "scripts"


def load(name: str, patch: pytest.MonkeyPatch) -> ModuleType:
    """A script that has no suffix, imported; nothing is written beside it."""
    module_name = name.replace("-", "_")
    loader = importlib.machinery.SourceFileLoader(module_name, str(SCRIPTS / name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(module_name, loader))
    patch.setattr(sys, "dont_write_bytecode", True)
    patch.setattr(sys, "path", list(sys.path))
    patch.setitem(sys.modules, module_name, module)  # where dataclasses look
    loader.exec_module(module)
    return module

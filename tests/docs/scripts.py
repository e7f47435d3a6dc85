"""The programs in scripts/ as modules: they are no package, and are not installed."""

import importlib.util
import sys
from types import ModuleType

from tests.conftest import ROOT

SCRIPTS = ROOT / "scripts"


def load_script(name: str) -> ModuleType:
    if str(SCRIPTS) not in sys.path:  # as where one is run: some share a module
        sys.path.append(str(SCRIPTS))
    spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

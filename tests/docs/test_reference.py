"""The reference of the job file is the schema in words: the committed page is what the generator writes."""

import importlib.util

from runjob.schemas.schema import bundled_schema
from tests.conftest import ROOT


def test_the_reference_is_what_the_schema_says() -> None:
    spec = importlib.util.spec_from_file_location("make_reference", ROOT / "scripts" / "make_reference.py")
    assert spec is not None
    assert spec.loader is not None
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    committed = (ROOT / "docs" / "job-file.md").read_text(encoding="utf-8")
    assert committed == generator.reference(bundled_schema()), "run scripts/make_reference.py and commit the page"
    assert "`training.schedule`" in committed

"""`make bench`: runjob and its peers side by side, in one run on one machine (docs/speed.md)."""

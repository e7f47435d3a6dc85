"""Why a run ended: `traces` gathers what was left, `classify` judges it by `causes`, signals and records before any
text, `change` says what to write instead, `answer` puts it into words."""

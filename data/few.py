"""What is said where a corpus is smaller than its job asks for: when it is prepared, while more can still be added, and
by the run before its first step."""

from runjob.schemas.job_data import Data, streamed


def few_documents(data: Data, documents: int) -> str | None:
    """Of so many training documents; nothing where there are enough, or nobody knows how many a stream has."""
    least = data.warn_below
    if least is None or documents >= least or streamed(data):
        return None
    return (
        f"{documents:,} training documents are fewer than data.warn_below {least:,}: the model may learn them "
        "and not what they have in common; add more, or lower the number if it is known to be enough"
    )

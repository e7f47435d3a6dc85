"""What a program without a terminal says. Its starter leads its standard output into a log, attempts/N/NAME.log."""

import time


def say(text: str) -> None:
    """One line with its time; a full disk swallows it, since no job should end over a word about itself."""
    try:
        print(time.strftime("%Y-%m-%d %H:%M:%S"), text, flush=True)
    except OSError:
        return

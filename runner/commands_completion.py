"""`completion`: what a shell reads at its start, to complete by."""

from argparse import ArgumentParser, Namespace

from runjob.runner.command import Command

SHELLS = ("bash", "zsh", "fish")


def run_completion(args: Namespace) -> int:
    from runjob.runner.completion import shell_code

    print(shell_code(args.shell), end="")
    return 0


def configure_completion(parser: ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS, help="the shell that is to read it at its start")


COMMANDS = (
    Command(
        name="completion",
        usage="SHELL",
        summary="what bash, zsh or fish complete by",
        configure=configure_completion,
        run=run_completion,
        examples=(
            "runjob completion bash > ~/.local/share/bash-completion/completions/runjob",
            "runjob completion zsh > ~/.zfunc/_runjob",
            "runjob completion fish > ~/.config/fish/completions/runjob.fish",
        ),
    ),
)

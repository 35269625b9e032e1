"""The parser of the command: errors that tell what was meant and whose help to read."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from alexnet.commands.table import sentence
from alexnet.messages import hint

BAD_USE = 2  # exit status


def _flag(word: str) -> str:
    return word.partition("=")[0]


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one sentence, the same under every version of Python.

    Those of a command name the command and its help, also where something is left over in the end,
    which argparse leaves to the parser of all commands.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.set_defaults(parser=self)

    def parse(self, arguments: Sequence[str] | None) -> argparse.Namespace:
        """Parse everything; SystemExit, after a line on standard error, where that is not possible.

        In the result, `parser` is that of the command.
        """
        options: argparse.Namespace
        options, rest = self.parse_known_args(arguments)
        if rest:
            options.parser.refuse(rest)
        return options

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse as argparse does, but options that there are not come before any other error.

        Their values would be taken for arguments otherwise, and refused as such.
        """
        words = sys.argv[1:] if args is None else list(args)
        for word in words:
            is_option = word.startswith("--") and " " not in word
            if word == "--" or (self._subparsers is not None and not is_option):
                break  # what follows a command is that command's
            if is_option and not any(flag.startswith(_flag(word)) for flag in self._flags()):
                self.refuse([word])
        return super().parse_known_args(words, namespace)

    def _flags(self) -> list[str]:
        return [flag for action in self._actions for flag in action.option_strings]

    def refuse(self, rest: Sequence[str]) -> NoReturn:
        """Say what this command has no use for: an option, or else arguments too many."""
        flag = next((_flag(word) for word in rest if word.startswith("-")), None)
        if flag is None:
            self.error(f"unexpected: {' '.join(rest)}")
        places = {action.dest: action.metavar for action in self._get_positional_actions()}
        place = places.get(flag.lstrip("-"))
        near = hint(flag, self._flags()) if place is None else f": {place} is given by its place"
        self.error(f"there is no option {flag}{near}")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Replace argparse's own list of choices, which differs between versions."""
        names = None if action.choices is None else list(map(str, action.choices))
        if names is not None and value not in names:
            near = hint(str(value), names)
            raise argparse.ArgumentError(
                action, f"{value!r}, expected one of {', '.join(names)}{near}"
            )

    def error(self, message: str) -> NoReturn:
        """End with one sentence and the status of bad use."""
        line = f"{self.prog}: error: {message} (see {self.prog} --help)"
        self.exit(BAD_USE, sentence(line, sys.stderr) + "\n")

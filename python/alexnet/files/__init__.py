"""Files: written whole or not at all, read without trust.

`writing` replaces files in one step, `reading` opens regular files, `locks` keeps a folder to one
process. `descriptions` reads settings, `pickles` the few pickles there have to be, and `kinds` says
what a foreign file seems to be; none of them runs anything that a file contains.
"""

from alexnet.files.locks import LOCK, lock
from alexnet.files.reading import check_regular, check_size, open_regular, read_regular
from alexnet.files.writing import (
    check_absent,
    check_folder,
    check_writable,
    json_text,
    naming,
    remove_remains,
    replacing,
    say_once,
    sync,
)

__all__ = [
    "LOCK",
    "check_absent",
    "check_folder",
    "check_regular",
    "check_size",
    "check_writable",
    "json_text",
    "lock",
    "naming",
    "open_regular",
    "read_regular",
    "remove_remains",
    "replacing",
    "say_once",
    "sync",
]

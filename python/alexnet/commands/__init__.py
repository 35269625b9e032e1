"""The commands of `alexnet`, one module for one or a few: arguments, calls, and what is printed.

Standard output holds the results, or with ``--json -`` the JSON alone, the text for people then
being on standard error, where progress and errors always are.
"""

"""What is checked and computed once for every implementation: the operators' contract.

`arguments` has the checks of single arguments and of arrays, `shapes` the sizes of results, `calls`
the checks of whole calls of an operator, `documentation` the docstrings that implementations share.
"""

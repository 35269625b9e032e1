"""Time: of this project's networks and layers, and beside other frameworks.

`benchmark` times a network in this process; `contest` times cases in all frameworks, each in a
process of its own (`worker`), in turns. `peers` has one file a framework.
"""

"""The study ladders: from the naive loop to the product's kernel, one idea a file.

`ladders` says what a ladder computes, `rungs` what files it has, `measure` runs them, `exercise`
adds a file of the reader's own, `results` keeps tables and puts machines side by side, `picture`
draws.
"""

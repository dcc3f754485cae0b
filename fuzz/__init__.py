"""Fuzzing of the codecs: `make fuzz`, or `python -m fuzz --seconds 20 --target http1_server`.

`targets.py` says what an input is fed to and which laws must hold; `seeds.py` has what the search starts from;
`engine.py` runs one target, by atheris where there is a wheel of it, else by random mutation. An input that breaks a
law is kept in the folder `fuzz/crashes`; `python -m fuzz --target T --input FILE` runs it again.
"""

"""Run ``pneumonia`` as ``python -m pneumonia.cli``."""

from pneumonia.cli.main import main

main()

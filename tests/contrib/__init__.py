"""The shipped configurations and the worker classes, under the programs that they are made for."""

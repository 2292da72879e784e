__version__ = "0.60.0"

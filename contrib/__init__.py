"""Ready-made configurations for the programs that run servers; `uvicornctl init` writes them with your values."""

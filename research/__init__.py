"""Programs that made the cell models, the flights and the constants of the product (README.md)."""

"""Programs that made the models and constants of the product, and that judged them."""

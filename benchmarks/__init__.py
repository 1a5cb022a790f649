"""Programs that measure and judge the product (README.md has the map)."""

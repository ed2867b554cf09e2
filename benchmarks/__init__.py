"""Real models and data, and the side-by-side measurements made with them."""

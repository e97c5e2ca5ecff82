"""What a model gets right and wrong, and how its training went: tables, plots, frames, pages."""

"""Recipes: the one schema of a mixture, and every way in and out of it."""

from .parsing import parse_recipe
from .reading import read_recipes
from .schema import HUB_SCHEMA, RECIPE_SCHEMA, RECIPE_TYPE, Recipe, Source

__all__ = ["HUB_SCHEMA", "RECIPE_SCHEMA", "RECIPE_TYPE", "Recipe", "Source", "parse_recipe", "read_recipes"]

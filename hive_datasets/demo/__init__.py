"""The demo: a few mixtures of generated sounds, so that everything can be tried without any download."""

from .recipes import demo_folder, write_demo

__all__ = ["demo_folder", "write_demo"]

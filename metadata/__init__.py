"""Facts that ship with the library, as data."""

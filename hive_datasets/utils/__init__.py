"""Mechanisms that several rooms need and that know nothing of mixtures."""

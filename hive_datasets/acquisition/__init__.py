"""Getting the corpora: what mixtures need of them, the most mixtures for a budget, fetching just that."""

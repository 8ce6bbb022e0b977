"""Recipes: the numbers of one experiment and `main()`, one file each."""

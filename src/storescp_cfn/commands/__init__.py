"""The commands for people who run a stack, one module for each group of them; each is a few lines around a function."""

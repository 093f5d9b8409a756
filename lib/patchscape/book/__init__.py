"""The book as a program: chapters, their parameters and pages, explorer and experiment, what everything rests on."""

"""The book as a program: chapters, their parameters and pages, the explorer, what everything rests on."""

"""The book as a program: chapters, their parameters and pages, the explorer, the experiment, what everything rests on."""

"""What is commonly copied: a commit after `yield`, a ping for each use, `setup=`, row by row."""

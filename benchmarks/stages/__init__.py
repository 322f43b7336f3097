"""One module a stage: ours beside what a user would take instead, and beside the floor of this machine."""

"""Time and memory of the networks: equal work by both sides, in turns, each in a process of its own."""

"""From a checkpoint to a program directory: load, project to Monarch, quantise, place, schedule, encode."""

"""The commands, a file for each time of the day: before the night, the night, the morning after."""

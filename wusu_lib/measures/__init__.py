"""What is counted and compared: figures of class maps and of change, their intervals, the verdict."""

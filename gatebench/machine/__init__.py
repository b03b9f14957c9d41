"""What the kernel and the hardware tell: cores, processes, counters, facts."""

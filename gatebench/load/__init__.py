"""The lab's side of the load: its load process, what is sent where, slices, calibration."""

"""The null responder: answers as fast as Python can and does nothing else.

What the load engine reaches against it is the engine's own ceiling on these cores. It shares no code with the
engine, so that a fault of one does not hide in the other.
"""

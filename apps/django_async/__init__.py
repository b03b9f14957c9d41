"""The contract's main routes in Django with asynchronous views."""

"""The contract's main routes in Falcon, in both of its forms."""

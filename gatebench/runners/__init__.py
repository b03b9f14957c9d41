"""What starts servers and holds them to the contract."""

"""libweir from Python: an event loop for Linux. The functions themselves are in `weir.abi`."""

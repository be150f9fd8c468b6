"""The doctor: proves that nothing is lost, doubled or stuck, and mends what is safe to mend."""
